//! How a Service is called (row 33 of the table of Service behaviours).

use std::net::TcpListener;

use wasmesh_tests::{Backend, Mesh, Service, fresh_vip};

#[test]
fn row_33_every_name_form_reaches_the_service() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let names = ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"];
    for name in names.iter().flat_map(|name| [(*name).to_owned(), name.to_uppercase()]) {
        for host in [name.clone(), format!("{name}."), format!("{name}:80"), format!("{name}.:80")] {
            let response = mesh.get(&format!("http://{host}/"));
            assert_eq!((response.status, response.backend()), (200, backend.address()), "{host}");
        }
    }
}

#[test]
fn row_33_a_bare_name_means_the_namespace_of_the_proxy() {
    let [of_default, of_shop] = Backend::several();
    let services = || [Service::new("web").endpoint(&of_default), Service::new("shop/web").endpoint(&of_shop)];
    let at_home = Mesh::of(services());
    let in_shop = Mesh::with(&["--namespace=shop"], services());
    assert_eq!(at_home.get("http://web/").backend(), of_default.address());
    assert_eq!(in_shop.get("http://web/").backend(), of_shop.address());
    assert_eq!(at_home.get("http://web.shop/").backend(), of_shop.address());
}

#[test]
fn row_33_another_cluster_domain_is_heeded() {
    let backend = Backend::start();
    let mesh = Mesh::with(&["--cluster-domain=mesh.example"], [Service::new("web").endpoint(&backend)]);
    assert_eq!(mesh.get("http://web.default.svc.mesh.example/").backend(), backend.address());
}

#[test]
fn row_1_a_cluster_ip_reaches_the_service_and_each_port_its_endpoints() {
    let [web, metrics] = Backend::several();
    let vip = fresh_vip();
    let service = Service::new("web").vip(vip).port("metrics", 81);
    let on_81 = wasmesh_tests::EndpointManifest::from(&metrics).port("metrics");
    let mesh = Mesh::of([service.endpoint(&web).endpoint(on_81)]);
    assert_eq!(mesh.get(&format!("http://{vip}/")).backend(), web.address());
    assert_eq!(mesh.get(&format!("http://{vip}:81/")).backend(), metrics.address());
}

#[test]
fn row_19_each_family_of_a_service_reaches_its_own_endpoints() {
    let of_v4 = Backend::start();
    let of_v6 = Backend::on(TcpListener::bind("[::1]:0").unwrap());
    let vip = fresh_vip();
    let [.., high, low] = vip.octets();
    let vip6 = format!("fd00:10:96::{high:x}:{low:x}");
    let service = || Service::new("web").vip(vip).vip(vip6.parse::<std::net::IpAddr>().unwrap());
    let mesh = Mesh::of([service().endpoint(&of_v4).endpoint(&of_v6)]);
    assert_eq!(mesh.get(&format!("http://{vip}/")).backend(), of_v4.address());
    assert_eq!(mesh.get(&format!("http://[{vip6}]/")).backend(), of_v6.address());

    mesh.apply([service().endpoint(&of_v4)]);
    let refused = mesh.get(&format!("http://[{vip6}]/"));
    assert_eq!((refused.status, refused.wasmesh_error()), (503, Some("no-endpoints")));
}

#[test]
fn the_backend_is_told_the_host_that_the_client_asked_for() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    mesh.get("http://WEB.default:80/path?query=1");
    let seen = &backend.seen()[0];
    assert_eq!((seen.target.as_str(), seen.header("host")), ("/path?query=1", Some("WEB.default:80")));
}

//! Connections to the addresses of pods are passed through, and counted for the Services whose pods these are.

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr, TcpListener},
};

use serde_json::Value;
use wasmesh_proto::{
    session::{
        MAX_ADDRESSES,
        client::{ClientSession, owners_request},
    },
    wire::to_proxy::Message as ToProxy,
};
use wasmesh_tests::{
    Backend, ControlPlane, FakeControlPlane, FakeProxy, FakeStream, Folder, Mesh, Proxy, Service, core_service,
    fresh_vip, item, until,
};

/// How many connections have been counted for a Service. It must have a name of its own: metrics are the whole process's.
fn counted(proxy: &Proxy, service: &str, kind: &str) -> f64 {
    let labels = [("namespace", "default"), ("service", service), ("kind", kind)];
    proxy.admin().metric("wasmesh_pod_connections_total", &labels)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

#[test]
fn row_10_a_pod_of_a_service_with_a_cluster_ip_is_left_alone_and_counted() {
    let backends: [_; 2] = Backend::several();
    let mesh = Mesh::of([Service::new("dialled-past").vip(fresh_vip()).endpoints(&backends)]);
    let (dialled, other) = (&backends[0], &backends[1]);
    let mut client = mesh.client();
    for _ in 0..5 {
        assert_eq!(client.get(&url(dialled.address())).backend(), dialled.address());
    }
    until("each connection is counted", || counted(&mesh, "dialled-past", "cluster-ip") == 5.0);
    // Now it is known whose the address is; and a tunnel is one connection, however much it carries.
    let mut tunnel = mesh.connect();
    tunnel.send(format!("CONNECT {} HTTP/1.1\r\n\r\n", dialled.address())).unwrap();
    assert_eq!(tunnel.head().unwrap().status, 200);
    for _ in 0..3 {
        assert_eq!(tunnel.request("GET", "/", "").unwrap().backend(), dialled.address());
    }
    until("a tunnel is counted while it is open", || counted(&mesh, "dialled-past", "cluster-ip") == 6.0);
    assert_eq!(other.requests(), 0);

    let page = mesh.service("default/dialled-past").unwrap();
    assert_eq!(page["pod_connections"], 6);
    assert!(page["note"].as_str().unwrap().contains("its policy had no say"), "{page}");
    assert_eq!(page["subscribed"], false, "its endpoints are nobody's business here");
}

#[test]
fn row_10_a_pod_of_a_headless_service_is_left_alone_and_counted() {
    let [backend, other] = Backend::several();
    let mesh = Mesh::of([Service::new("headless-pods").headless().endpoints([&backend, &other])]);
    assert_eq!(mesh.get(&url(backend.address())).backend(), backend.address());
    until("the connection is counted", || counted(&mesh, "headless-pods", "headless") == 1.0);
    let page = mesh.service("default/headless-pods").unwrap();
    assert_eq!((&page["pod_connections"], &page["note"]), (&1.into(), &Value::Null));
}

#[test]
fn a_pod_is_told_by_its_address_also_when_a_name_has_led_there() {
    let backend = Backend::on(TcpListener::bind("127.0.0.1:0").unwrap());
    let mesh = Mesh::of([Service::new("by-name").vip(fresh_vip()).endpoint(&backend)]);
    let port = backend.address().port();
    assert_eq!(mesh.get(&format!("http://localhost:{port}/")).backend(), backend.address());
    until("the connection is counted", || counted(&mesh, "by-name", "cluster-ip") == 1.0);
}

#[test]
fn what_the_mesh_balances_is_not_counted_and_a_pod_of_two_services_is_counted_for_both() {
    let backend = Backend::start();
    let services = ["both-one", "both-two"].map(|name| Service::new(name).vip(fresh_vip()).endpoint(&backend));
    let mesh = Mesh::of(services);
    assert_eq!(mesh.get("http://both-one/").backend(), backend.address());
    assert_eq!(mesh.get(&url(backend.address())).backend(), backend.address());
    until("the connection is counted", || counted(&mesh, "both-two", "cluster-ip") == 1.0);
    assert_eq!(counted(&mesh, "both-one", "cluster-ip"), 1.0);
}

/// A proxy of a control plane that says what a test tells it to, with one Service that has a virtual address.
fn scripted(vip: IpAddr) -> (FakeControlPlane, Proxy, FakeStream) {
    let control_plane = FakeControlPlane::start();
    let proxy = Proxy::start(&control_plane.url(), &[]);
    let mut stream = control_plane.accept();
    stream.welcome();
    let service = core_service("default/scripted", SocketAddr::from((vip, 80)), &[]);
    assert_eq!(stream.update(vec![item(&service, false)], &[]).rejected, []);
    (control_plane, proxy, stream)
}

#[test]
fn an_address_of_nobody_is_asked_for_once_and_a_virtual_one_never() {
    let [one, two, with_vip] = Backend::several();
    let (_control_plane, proxy, stream) = scripted(with_vip.address().ip());
    // A port that the virtual address does not have: passed through, and nobody's pod.
    assert_eq!(proxy.get(&url(with_vip.address())).status, 200);
    assert_eq!(proxy.get(&url(one.address())).status, 200);
    assert_eq!(stream.expect_owners_request(), [one.address()]);
    stream.tell_owners(&[(one.address(), &[])]);
    for _ in 0..3 {
        assert_eq!(proxy.get(&url(one.address())).status, 200);
    }
    assert_eq!(proxy.get(&url(two.address())).status, 200);
    assert_eq!(stream.expect_owners_request(), [two.address()]);
    stream.tell_owners(&[(two.address(), &["default/scripted", "default/unknown", "no name"])]);
    until("what is known is counted", || counted(&proxy, "scripted", "cluster-ip") == 1.0);
    assert_eq!(stream.pending(), []);
}

#[test]
fn a_control_plane_that_does_not_know_the_question_costs_nothing() {
    let [one, two] = Backend::several();
    let (_control_plane, proxy, mut stream) = scripted(fresh_vip().into());
    assert_eq!(proxy.get(&url(one.address())).status, 200);
    assert_eq!(stream.expect_owners_request(), [one.address()]);
    for _ in 0..20 {
        assert_eq!(proxy.get(&url(one.address())).backend(), one.address());
        assert_eq!(proxy.get(&url(two.address())).backend(), two.address());
    }
    // The stream goes on, and no further question is put while one is open.
    let service = core_service("default/more", (fresh_vip(), 80).into(), &[]);
    assert_eq!(stream.update(vec![item(&service, false)], &[]).rejected, []);
    assert_eq!(stream.pending(), []);
}

#[test]
fn a_flood_of_addresses_is_asked_for_in_bounded_questions_and_all_of_it_passes() {
    const FLOOD: u16 = 5_000;
    // Every address of 127.0.0.0/8 leads to it.
    let backend = Backend::on(TcpListener::bind("0.0.0.0:0").unwrap());
    let port = backend.address().port();
    let (_control_plane, proxy, stream) = scripted(fresh_vip().into());
    let unknown = || proxy.admin().metric("wasmesh_pod_connections_unknown_total", &[]);
    let before = unknown();
    let mut client = proxy.client();
    for number in 0..FLOOD {
        let [high, low] = number.to_be_bytes();
        assert_eq!(client.get(&format!("http://127.63.{high}.{low}:{port}/")).status, 200);
    }
    // What waits is asked for bit by bit; what there is no room for is counted as unknown.
    let mut asked = HashSet::new();
    until("each connection is accounted for", || {
        let is_done = || asked.len() as f64 + unknown() - before >= f64::from(FLOOD);
        if is_done() {
            return true;
        }
        let question = stream.expect_owners_request();
        assert!(question.len() <= MAX_ADDRESSES, "{}", question.len());
        let nobodys: Vec<_> = question.iter().map(|address| (*address, &[][..])).collect();
        stream.tell_owners(&nobodys);
        question.into_iter().for_each(|address| assert!(asked.insert(address), "{address} is asked for twice"));
        false
    });
    assert!(asked.len() < FLOOD.into(), "a flood is not asked for in full");
}

#[test]
fn a_question_for_very_many_addresses_is_answered_for_the_first_of_them() {
    let folder = Folder::default();
    let backend = Backend::start();
    folder.put(&[Service::new("web").vip(fresh_vip()).endpoint(&backend)]);
    let control_plane = ControlPlane::start(folder.path());
    let mut proxy = FakeProxy::connect(control_plane.discovery());
    proxy.catch_up(&mut ClientSession::default(), "curious");
    let nobodys = |number: u32| SocketAddr::from((number.to_be_bytes(), 80));
    let crowd: Vec<_> = [backend.address()].into_iter().chain((0..1000).map(nobodys)).collect();
    proxy.send(owners_request(&crowd).message.unwrap());
    let Ok(ToProxy::Owners(owners)) = proxy.receive() else { panic!("Owners expected") };
    assert_eq!(owners.addresses.len(), MAX_ADDRESSES);
    assert_eq!(owners.addresses[0].services, ["default/web"]);
    assert!(owners.addresses[1..].iter().all(|told| told.services.is_empty()));
}

#[test]
fn a_pod_that_a_headless_service_has_too_is_no_sign_of_a_policy_that_is_passed_by() {
    let backend = Backend::start();
    let mesh = Mesh::of([
        Service::new("with-vip").vip(fresh_vip()).endpoint(&backend),
        Service::new("its-pods").headless().endpoint(&backend),
    ]);
    assert_eq!(mesh.get(&url(backend.address())).backend(), backend.address());
    until("the connection is counted", || counted(&mesh, "with-vip", "either") == 1.0);
    assert_eq!(counted(&mesh, "its-pods", "headless"), 1.0);
    assert_eq!(counted(&mesh, "with-vip", "cluster-ip"), 0.0);
    assert_eq!(mesh.service("default/with-vip").unwrap()["note"], Value::Null);
}

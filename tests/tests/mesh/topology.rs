//! Where the client stands (rows 21 and 23).

use wasmesh_tests::{Backend, EndpointManifest, Mesh, Service};

fn on_node(backend: &Backend, node: &str) -> EndpointManifest {
    EndpointManifest::from(backend).node(node)
}

fn for_zone(backend: &Backend, zone: &str) -> EndpointManifest {
    EndpointManifest::from(backend).for_zone(zone)
}

#[test]
fn row_21_local_traffic_stays_on_the_node() {
    let [here, there] = Backend::several();
    let service = Service::new("web").local().endpoint(on_node(&here, "n1")).endpoint(on_node(&there, "n2"));
    let mesh = Mesh::with(&["--node-name=n1"], [service]);
    assert_eq!(mesh.spread("http://web/", 20).backends(), [here.address()]);
}

#[test]
fn row_21_without_a_local_endpoint_it_is_refused() {
    let there = Backend::start();
    let service = || Service::new("web").local().endpoint(on_node(&there, "n2"));
    for options in [&["--node-name=n1"][..], &[]] {
        let mesh = Mesh::with(options, [service()]);
        let response = mesh.get("http://web/");
        assert_eq!((response.status, response.wasmesh_error()), (503, Some("no-endpoints")), "{options:?}");
    }
}

#[test]
fn row_23_hints_keep_traffic_in_the_zone() {
    let [a, b] = Backend::several();
    let service = Service::new("web").endpoint(for_zone(&a, "a")).endpoint(for_zone(&b, "b"));
    let mesh = Mesh::with(&["--zone=a"], [service]);
    assert_eq!(mesh.spread("http://web/", 20).backends(), [a.address()]);
}

#[test]
fn row_23_one_missing_hint_means_all() {
    let [a, b, unhinted] = Backend::several();
    let service = Service::new("web").endpoint(for_zone(&a, "a")).endpoint(for_zone(&b, "b")).endpoint(&unhinted);
    let mesh = Mesh::with(&["--zone=a"], [service]);
    assert_eq!(mesh.spread("http://web/", 90).backends().len(), 3);
}

#[test]
fn row_23_a_zone_without_endpoints_means_all() {
    let [a, b] = Backend::several();
    let service = Service::new("web").endpoint(for_zone(&a, "a")).endpoint(for_zone(&b, "b"));
    let mesh = Mesh::with(&["--zone=c"], [service]);
    assert_eq!(mesh.spread("http://web/", 60).backends().len(), 2);
}

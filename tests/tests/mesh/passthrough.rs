//! What is not the mesh's goes where it wanted to go.

use std::net::TcpListener;

use wasmesh_tests::{Backend, Mesh, Service, dead_address};

fn on_localhost() -> (Backend, u16) {
    let backend = Backend::on(TcpListener::bind("127.0.0.1:0").unwrap());
    let port = backend.address().port();
    (backend, port)
}

#[test]
fn an_unknown_host_is_passed_through() {
    let (backend, port) = on_localhost();
    let mesh = Mesh::of([]);
    assert_eq!(mesh.get(&format!("http://localhost:{port}/")).backend(), backend.address());
}

#[test]
fn an_unknown_address_is_passed_through() {
    let backend = Backend::start();
    let mesh = Mesh::of([]);
    assert_eq!(mesh.get(&format!("http://{}/", backend.address())).backend(), backend.address());
}

#[test]
fn row_7_a_port_that_the_service_lacks_is_passed_through() {
    let [of_the_mesh, elsewhere] = Backend::several();
    // The virtual address is one that somebody really has, so that one can see where the request went.
    let mesh = Mesh::of([Service::new("web").vip(elsewhere.address().ip()).endpoint(&of_the_mesh)]);
    assert_eq!(mesh.get(&format!("http://{}/", elsewhere.address().ip())).backend(), of_the_mesh.address());
    assert_eq!(mesh.get(&format!("http://{}/", elsewhere.address())).backend(), elsewhere.address());
}

#[test]
fn row_16_an_external_name_is_passed_through_to_its_target() {
    let (backend, port) = on_localhost();
    let mesh = Mesh::of([Service::external("outside", "localhost")]);
    let response = mesh.get(&format!("http://outside:{port}/path"));
    assert_eq!(response.backend(), backend.address());
    assert_eq!(backend.seen()[0].target, "/path");
}

#[test]
fn row_16_a_service_may_become_an_alias_and_back() {
    let (outside, port) = on_localhost();
    let inside = Backend::start();
    let service = || Service::new("web").port("other", port);
    let inside_endpoint = || wasmesh_tests::EndpointManifest::from(&inside).port("other");
    let url = format!("http://web:{port}/");
    let mesh = Mesh::of([service().endpoint(inside_endpoint())]);
    assert_eq!(mesh.get(&url).backend(), inside.address());
    mesh.apply([Service::external("web", "localhost")]);
    assert_eq!(mesh.get(&url).backend(), outside.address());
    mesh.apply([service().endpoint(inside_endpoint())]);
    assert_eq!(mesh.get(&url).backend(), inside.address());
}

#[test]
fn what_is_passed_through_and_cannot_be_reached_is_told_apart_from_the_mesh() {
    let mesh = Mesh::of([]);
    let response = mesh.get(&format!("http://{}/", dead_address()));
    assert_eq!((response.status, response.wasmesh_error()), (502, Some("passthrough-failed")));
}

#[test]
fn a_request_to_the_proxy_itself_is_refused_as_a_loop() {
    let mesh = Mesh::of([]);
    let response = mesh.get(&format!("http://{}/", mesh.http()));
    assert_eq!((response.status, response.wasmesh_error()), (508, Some("loop")));
}

//! Endpoints come on first use, are waited for briefly, and are given up when nobody needs them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use wasmesh_core::service::Service as CoreService;
use wasmesh_tests::{Backend, FakeControlPlane, FakeStream, Mesh, Proxy, Service, core_service, item, until};

/// A proxy whose control plane sends this directory and then says nothing more.
fn with_silent_control_plane(options: &[&str], service: &CoreService) -> (FakeControlPlane, FakeStream, Proxy) {
    let control_plane = FakeControlPlane::start();
    let proxy = Proxy::start(&control_plane.url(), options);
    let mut stream = control_plane.accept();
    stream.welcome();
    stream.update(vec![item(service, false)], &[]);
    (control_plane, stream, proxy)
}

#[test]
fn endpoints_are_not_known_before_they_are_used() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("used").endpoint(&backend), Service::new("unused").endpoint(&backend)]);
    assert_eq!(mesh.snapshot()["subscriptions"], 0);
    assert_eq!(mesh.get("http://used/").status, 200);
    assert_eq!(mesh.service("default/used").unwrap()["subscribed"], true);
    assert_eq!(mesh.service("default/unused").unwrap()["subscribed"], false);
}

#[test]
fn the_first_use_waits_briefly_and_then_passes_through() {
    let elsewhere = Backend::start();
    let [never_told]: [SocketAddr; 1] = [wasmesh_tests::dead_address()];
    let service = core_service("default/web", elsewhere.address(), &[never_told]);
    let (_control_plane, stream, proxy) = with_silent_control_plane(&["--first-use-wait=0.25"], &service);
    let timed = |target: String| {
        let asked = Instant::now();
        assert_eq!(proxy.get(&format!("http://{target}/")).backend(), elsewhere.address(), "{target}");
        asked.elapsed()
    };
    let waited = timed(elsewhere.address().to_string());
    assert!(waited >= Duration::from_millis(250), "passed through after {waited:?}");
    assert!(waited < Duration::from_secs(5), "passed through after {waited:?} only");
    // Nobody waits twice for what has not come, by whatever name, before anything has changed. Each worker has to find out
    // for itself, and a busy machine may be late: but if every use waited, none would be quick.
    let by_name = || timed(format!("web:{}", elsewhere.address().port()));
    assert!((0..20).any(|_| by_name() < Duration::from_millis(250)), "every use waits");
    assert_eq!(stream.expect_subscribe().add, ["default/web"]);
}

#[test]
fn a_service_without_an_address_to_pass_through_to_says_that_its_endpoints_are_pending() {
    let control_plane = FakeControlPlane::start();
    let proxy = Proxy::start(&control_plane.url(), &["--first-use-wait=0.05"]);
    let mut stream = control_plane.accept();
    stream.welcome();
    let service = core_service("default/web", "0.0.0.0:80".parse().unwrap(), &[wasmesh_tests::dead_address()]);
    let headless = wasmesh_core::service::ServiceSpec {
        kind: wasmesh_core::service::ServiceKind::Headless,
        ..(*service.spec.value).clone()
    };
    let headless = CoreService::new(headless, (*service.endpoints).clone());
    stream.update(vec![item(&headless, false)], &[]);
    let response = proxy.get("http://web/");
    assert_eq!((response.status, response.wasmesh_error()), (503, Some("endpoints-pending")));
}

#[test]
fn endpoints_that_come_while_a_request_waits_are_used_at_once() {
    let backend = Backend::start();
    let service = core_service("default/web", "10.96.0.1:80".parse().unwrap(), &[backend.address()]);
    let (_control_plane, mut stream, proxy) = with_silent_control_plane(&[], &service);
    let mut waiting: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
    waiting.iter_mut().for_each(|client| client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap());
    stream.expect_subscribe();
    stream.update(vec![item(&service, true)], &[]);
    for mut client in waiting {
        assert_eq!(client.response("GET").unwrap().backend(), backend.address());
    }
}

#[test]
fn without_any_control_plane_everything_passes_through() {
    let elsewhere = Backend::start();
    let proxy = Proxy::start(&format!("http://{}", wasmesh_tests::dead_address()), &[]);
    assert_eq!(proxy.get(&format!("http://{}/", elsewhere.address())).backend(), elsewhere.address());
}

#[test]
fn unused_endpoints_are_given_up_and_come_back_on_use() {
    let backend = Backend::start();
    let mesh = Mesh::with(&["--endpoints-idle-timeout=1.5"], [Service::new("web").endpoint(&backend)]);
    for _ in 0..2 {
        assert_eq!(mesh.get("http://web/").status, 200);
        assert_eq!(mesh.service("default/web").unwrap()["subscribed"], true);
        mesh.wait("the endpoints are given up", |snapshot| snapshot["subscriptions"] == 0);
        until("the control plane knows it", || {
            mesh.control_plane.stream(mesh.full_name()).is_some_and(|stream| stream["subscriptions"] == 0)
        });
        assert_eq!(mesh.service("default/web").unwrap()["subscribed"], false);
    }
}

#[test]
fn endpoints_in_use_are_never_given_up_between_two_requests() {
    let backend = Backend::start();
    let mesh = Mesh::with(&["--endpoints-idle-timeout=1.5"], [Service::new("web").endpoint(&backend)]);
    // A request that takes longer than the timeout is use.
    backend.hold();
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    until("the request is under way", || backend.requests() == 1);
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(4) {
        assert_eq!(mesh.service("default/web").unwrap()["subscribed"], true, "after {:?}", since.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    backend.release();
    assert_eq!(client.response("GET").unwrap().status, 200);
}

#[test]
fn nothing_is_given_up_while_there_is_no_stream() {
    let backend = Backend::start();
    let mut mesh = Mesh::with(&["--endpoints-idle-timeout=1"], [Service::new("web").endpoint(&backend)]);
    mesh.get("http://web/");
    mesh.control_plane.kill();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        assert_eq!(mesh.service("default/web").unwrap()["subscribed"], true, "after {:?}", since.elapsed());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(mesh.get("http://web/").backend(), backend.address());
}

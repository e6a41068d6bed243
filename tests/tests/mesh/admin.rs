//! What operators ask.

use wasmesh_tests::{Backend, ControlPlane, Folder, Mesh, Proxy, Service, Switch, dead_address, until};

#[test]
fn a_proxy_is_ready_once_the_first_state_is_in_and_does_not_fall_back() {
    let folder = Folder::default();
    let mut control_plane = ControlPlane::start(folder.path());
    let switch = Switch::to(dead_address());
    let proxy = Proxy::start(&switch.url(), &["--startup-grace=3600"]);
    proxy.wait("there is no control plane", |snapshot| snapshot["last_error"].is_string());
    let not_ready = proxy.admin().page("/readyz");
    assert_eq!(not_ready.status, 503);
    assert!(not_ready.text().contains("first state"), "{}", not_ready.text());
    assert_eq!(proxy.admin().page("/livez").status, 200);

    // An empty mesh is a state as well.
    switch.turn(Some(control_plane.discovery()));
    until("the proxy is ready", || proxy.admin().is_ready());

    control_plane.kill();
    proxy.wait("the loss is seen", |snapshot| snapshot["connected_to"].is_null());
    assert!(proxy.admin().is_ready());
}

#[test]
fn a_proxy_without_a_control_plane_is_ready_when_the_grace_is_over() {
    let proxy = Proxy::start(&format!("http://{}", dead_address()), &["--startup-grace=0.2"]);
    until("the grace is over", || proxy.admin().is_ready());
    assert_eq!(proxy.snapshot()["complete"], false);
}

#[test]
fn a_control_plane_that_cannot_be_reached_is_named_with_the_reason() {
    let address = dead_address();
    let proxy = Proxy::start(&format!("http://{address}"), &[]);
    proxy.wait("the reason is shown", |snapshot| {
        let error = snapshot["last_error"].as_str().unwrap_or_default();
        error.contains(&address.to_string()) && error.contains("refused")
    });
}

#[test]
fn the_proxy_shows_what_it_believes() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").vip([10, 96, 200, 1]).policy("maglev").endpoint(&backend)]);
    mesh.get("http://web/");
    let snapshot = mesh.snapshot();
    assert_eq!((&snapshot["ready"], &snapshot["complete"]), (&true.into(), &true.into()));
    assert_eq!(snapshot["connected_to"], "control-plane");
    assert_eq!(snapshot["subscriptions"], 1);
    let service = mesh.service("default/web").unwrap();
    assert_eq!(service["vips"][0], "10.96.200.1");
    assert_eq!(service["ports"][0]["reachable"][0], "IPv4");

    let endpoints = mesh.admin().json("/debug/endpoints?service=default/web");
    let row = &endpoints["services"][0];
    assert_eq!((&row["policy"], &row["port"]), (&"maglev".into(), &80.into()));
    assert_eq!(row["endpoints"][0]["address"], backend.address().to_string());
    assert_eq!(row["endpoints"][0]["candidate"], true);
    assert_eq!(
        mesh.admin().json("/debug/endpoints?service=default/none")["services"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn the_control_plane_shows_its_streams() {
    let mesh = Mesh::with(&["--node-name=n1", "--zone=z1"], [Service::new("web")]);
    let stream = mesh.control_plane.stream(mesh.full_name()).unwrap();
    assert_eq!((&stream["node"], &stream["zone"], &stream["current"]), (&"n1".into(), &"z1".into(), &true.into()));
    assert_eq!(stream["acknowledged"], mesh.control_plane.admin().json("/debug/snapshot")["version"]);
    assert_eq!(stream["rejected"].as_array().map(Vec::len), Some(0));
}

#[test]
fn requests_are_counted_by_service_and_class() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("counted/requests").policy("random").endpoint(&backend)]);
    let mut client = mesh.client();
    for path in ["", "", "status/404", "status/503", "status/302"] {
        client.get(&format!("http://requests.counted/{path}"));
    }
    let labels = [("service", "requests"), ("namespace", "counted"), ("port", "80"), ("policy", "random")];
    let metric = |name: &str, more: &[(&str, &str)]| mesh.admin().metric(name, &[&labels[..], more].concat());
    let class = |class| metric("wasmesh_requests_total", &[("class", class)]);
    // A request counts when its response has ended, which its client may see first.
    until("all are counted", || metric("wasmesh_requests_total", &[]) == 5.0);
    assert_eq!((class("2xx"), class("3xx"), class("4xx"), class("5xx")), (2.0, 1.0, 1.0, 1.0));
    assert_eq!(metric("wasmesh_policy_picks_total", &[("reason", "first")]), 5.0);
    assert_eq!(metric("wasmesh_request_duration_seconds_count", &[]), 5.0);
    let available = || mesh.admin().metric("wasmesh_endpoints", &[labels[0], labels[1], ("state", "available")]);
    until("its endpoint is exported", || available() == 1.0);
}

#[test]
fn answers_of_the_proxy_itself_are_counted_by_reason() {
    let mesh = Mesh::of([Service::new("counted/dead").endpoint(dead_address())]);
    assert_eq!(mesh.get("http://dead.counted/").status, 503);
    let counted =
        |name: &str, label| mesh.admin().metric(name, &[("service", "dead"), ("namespace", "counted"), label]);
    assert_eq!(counted("wasmesh_errors_total", ("reason", "connect-failed")), 1.0);
    assert_eq!(counted("wasmesh_requests_total", ("class", "5xx")), 1.0);
}

#[test]
fn tunnels_are_counted_with_their_bytes() {
    let backend = wasmesh_tests::Scripted::start(|mut connection| {
        let _ = connection.read_to_end();
        let _ = connection.send("1234567");
    });
    let mesh = Mesh::of([Service::new("counted/tunnels").app_protocol("tcp").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("CONNECT tunnels.counted:80 HTTP/1.1\r\n\r\n").unwrap();
    client.head().unwrap();
    let counted = |name: &str| mesh.admin().metric(name, &[("service", "tunnels"), ("namespace", "counted")]);
    until("it is opened", || counted("wasmesh_tcp_connections_opened_total") == 1.0);
    client.send("abc").unwrap();
    client.finish().unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"1234567");
    until("it is closed", || counted("wasmesh_tcp_connections_closed_total") == 1.0);
    assert_eq!(counted("wasmesh_tcp_sent_bytes_total"), 3.0);
    assert_eq!(counted("wasmesh_tcp_received_bytes_total"), 7.0);
}

#[test]
fn the_endpoints_of_a_service_that_is_gone_are_no_longer_exported() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("counted/gone").endpoint(&backend)]);
    mesh.get("http://gone.counted/");
    let exported = || mesh.admin().metric("wasmesh_endpoints", &[("service", "gone"), ("namespace", "counted")]);
    until("they are exported", || exported() == 1.0);
    mesh.apply([]);
    until("they are gone", || exported() == 0.0);
}

#[test]
fn the_control_plane_exports_its_own_metrics() {
    let mesh = Mesh::of([Service::new("web")]);
    let text = mesh.control_plane.admin().page("/metrics").text();
    for name in
        ["streams", "services", "endpoints", "problems", "published_total", "updates_total", "rejected_resources_total"]
    {
        assert!(text.contains(&format!("\nwasmesh_control_plane_{name} ")), "{name} is missing");
    }
    assert!(text.contains("wasmesh_control_plane_propagation_seconds_count"), "the lag is missing");
}

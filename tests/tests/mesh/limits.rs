//! What the proxy does at most: over a limit there is a clear answer, and everything else goes on.

use std::{thread, time::Duration};

use hyper::{HeaderMap, Method, header::HeaderName};
use tokio::time::timeout;
use wasmesh_tests::{Backend, Http2Backend, Http2Client, Mesh, PATIENCE, Service, runtime, until};

fn web(options: &[&str]) -> (Backend, Mesh) {
    let backend = Backend::start();
    let mesh = Mesh::with(options, [Service::new("web").endpoint(&backend)]);
    (backend, mesh)
}

#[test]
fn more_requests_than_allowed_are_answered_at_once_and_the_others_go_on() {
    let (backend, mesh) = web(&["--max-requests=3"]);
    backend.hold();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let mut client = mesh.client();
            thread::spawn(move || client.get("http://web/").status)
        })
        .collect();
    until("they are at the backend", || backend.requests() == 3);
    let mut client = mesh.client();
    let answer = client.get("http://web/");
    assert_eq!((answer.status, answer.wasmesh_error()), (503, Some("overload")));
    assert!(answer.text().contains("--max-requests"), "{}", answer.text());
    backend.release();
    assert!(waiting.into_iter().all(|answer| answer.join().unwrap() == 200));
    until("there is room again", || client.get("http://web/").status == 200);
}

#[test]
fn more_connections_than_allowed_are_refused_and_the_others_go_on() {
    let (_backend, mesh) = web(&["--max-connections=3", "--workers=1"]);
    let before = mesh.admin().metric("wasmesh_connections_over_limit_total", &[]);
    let mut within: Vec<_> = (0..3).map(|_| mesh.connect()).collect();
    for connection in &mut within {
        assert_eq!(connection.request("GET", "http://web/", "").unwrap().status, 200);
    }
    for _ in 0..5 {
        assert!(mesh.connect().request("GET", "http://web/", "").is_err());
    }
    assert!(mesh.admin().metric("wasmesh_connections_over_limit_total", &[]) >= before + 5.0);
    for connection in &mut within {
        assert_eq!(connection.request("GET", "http://web/", "").unwrap().status, 200);
    }
    within.pop();
    until("there is room again", || mesh.connect().request("GET", "http://web/", "").is_ok());
}

#[test]
fn a_tunnel_counts_as_one_connection() {
    let (_backend, mesh) = web(&["--max-connections=4", "--workers=1"]);
    let tunnels: Vec<_> = (0..3)
        .map(|_| {
            let mut client = mesh.connect();
            client.send("CONNECT web:80 HTTP/1.1\r\n\r\n").unwrap();
            assert_eq!(client.head().unwrap().status, 200);
            assert_eq!(client.request("GET", "/", "").unwrap().status, 200);
            client
        })
        .collect();
    assert_eq!(mesh.connect().request("GET", "http://web/", "").unwrap().status, 200);
    drop(tunnels);
}

#[test]
fn streams_beyond_the_limit_wait_in_the_client() {
    let backend = Http2Backend::start();
    let mesh = Mesh::with(&["--max-streams=2"], [Service::new("web").endpoint(&backend)]);
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        // By then the limit is known.
        client.get("/").await.unwrap();
        let mut open = Vec::new();
        for _ in 0..2 {
            let (response, stream) = client.send(Method::POST, "/echo", HeaderMap::new(), false).await.unwrap();
            open.push((timeout(PATIENCE, response).await.unwrap().unwrap(), stream));
        }
        let mut third = Box::pin(client.get("/"));
        assert!(timeout(Duration::from_millis(100), &mut third).await.is_err(), "a third stream at once");
        open.pop();
        assert_eq!(timeout(PATIENCE, third).await.unwrap().unwrap().head.status(), 200);
    });
}

#[test]
fn a_head_beyond_the_limit_is_answered_431_and_others_go_on() {
    let (_backend, mesh) = web(&["--max-header-bytes=9000"]);
    let mut other = mesh.connect();
    assert_eq!(other.request("GET", "http://web/", "").unwrap().status, 200);
    let long = |length| format!("Long: {}\r\n", "x".repeat(length));
    assert_eq!(mesh.connect().request("GET", "http://web/", &long(7_000)).unwrap().status, 200);
    assert_eq!(mesh.connect().request("GET", "http://web/", &long(20_000)).unwrap().status, 431);
    assert_eq!(other.request("GET", "http://web/", "").unwrap().status, 200);
}

#[test]
fn a_head_beyond_the_limit_is_431_over_http2_and_its_connection_goes_on() {
    let backend = Http2Backend::start();
    let mesh = Mesh::with(&["--max-header-bytes=9000"], [Service::new("web").endpoint(&backend)]);
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        for (length, status) in [(7_000, 200), (20_000, 431), (7_000, 200)] {
            let headers = [(HeaderName::from_static("long"), "x".repeat(length).parse().unwrap())];
            let sent = client.send(Method::GET, "/", HeaderMap::from_iter(headers), true).await.unwrap();
            assert_eq!(timeout(PATIENCE, sent.0).await.unwrap().unwrap().status(), status, "{length} bytes");
        }
    });
}

//! Clients that send nonsense, too much, too slowly, or nothing.

use std::io;

use wasmesh_tests::{Backend, Connection, Mesh, Service, until};

const REASONS: &str = "wasmesh_client_connections_failed_total";

fn web(options: &[&str]) -> (Backend, Mesh) {
    let backend = Backend::start();
    let mesh = Mesh::with(options, [Service::new("web").endpoint(&backend)]);
    (backend, mesh)
}

/// Does this to a mesh, counts it under this reason, and sees that other clients are not affected.
#[track_caller]
fn check(mesh: &Mesh, reason: &str, misbehave: impl FnOnce(Connection)) {
    let mut neighbour = mesh.client();
    assert_eq!(neighbour.get("http://web/").status, 200);
    let before = mesh.admin().metric(REASONS, &[("reason", reason)]);
    misbehave(mesh.connect());
    until("it is counted", || mesh.admin().metric(REASONS, &[("reason", reason)]) > before);
    assert_eq!(neighbour.get("http://web/").status, 200);
    assert!(neighbour.is_connected());
    assert_eq!(mesh.get("http://web/").status, 200);
}

/// The connection is closed or reset, and nothing but an error was answered.
#[track_caller]
fn expect_refusal(client: &mut Connection, statuses: &[u16]) {
    match client.head() {
        Ok(head) => assert!(statuses.contains(&head.status), "{head:?}"),
        Err(error) => assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "the connection stays open"),
    }
}

#[test]
fn garbage_is_refused() {
    let (backend, mesh) = web(&[]);
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", b"HELO me\r\n\r\n"]
    {
        check(&mesh, "malformed", |mut client| {
            client.send(garbage).unwrap();
            client.finish().unwrap();
            expect_refusal(&mut client, &[400]);
        });
    }
    assert_eq!(backend.seen().iter().filter(|seen| seen.method != "GET").count(), 0);
}

#[test]
fn an_endless_head_is_cut_off() {
    let (_backend, mesh) = web(&[]);
    check(&mesh, "head-too-large", |mut client| {
        client.send("GET http://web/ HTTP/1.1\r\nX-Long: ").unwrap();
        let block = vec![b'x'; 64 * 1024];
        // Some of it fits into socket buffers after the proxy has stopped reading, but not all of it.
        let sent = (0..4096).take_while(|_| client.send(&block).is_ok()).count();
        assert!(sent < 4096, "256 MB of one field were taken");
    });
}

#[test]
fn a_head_of_a_megabyte_is_refused() {
    let (backend, mesh) = web(&[]);
    check(&mesh, "head-too-large", |mut client| {
        let long = "x".repeat(1024 * 1024);
        let _ = client.send(format!("GET http://web/big HTTP/1.1\r\nX-Long: {long}\r\n\r\n"));
        expect_refusal(&mut client, &[431]);
    });
    assert!(backend.seen().iter().all(|seen| seen.target != "/big"));
}

#[test]
fn a_head_of_32_kilobytes_passes() {
    let (backend, mesh) = web(&[]);
    let long = "x".repeat(32 * 1024);
    let response = mesh.connect().request("GET", "http://web/", &format!("X-Long: {long}\r\n")).unwrap();
    assert_eq!(response.status, 200);
    assert_eq!(backend.seen()[0].header("x-long"), Some(long.as_str()));
}

#[test]
fn a_client_that_says_nothing_is_let_go() {
    let (_backend, mesh) = web(&["--client-idle-timeout=0.2"]);
    let mut client = mesh.connect();
    expect_refusal(&mut client, &[408]);
}

#[test]
fn a_client_that_never_ends_its_head_is_let_go() {
    let (_backend, mesh) = web(&["--client-idle-timeout=0.2"]);
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\nHost: w").unwrap();
    expect_refusal(&mut client, &[408]);
}

#[test]
fn a_client_that_keeps_its_connection_for_nothing_is_let_go() {
    let (_backend, mesh) = web(&["--client-idle-timeout=0.2"]);
    let mut client = mesh.connect();
    assert_eq!(client.request("GET", "http://web/", "").unwrap().status, 200);
    expect_refusal(&mut client, &[408]);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_request_leaves_nothing_behind() {
    let (backend, mesh) = web(&[]);
    for _ in 0..20 {
        let mut client = mesh.connect();
        client.send("POST http://web/echo HTTP/1.1\r\nContent-Length: 1000\r\n\r\nhalf of it").unwrap();
    }
    until("the backend has seen them", || backend.requests() >= 1);
    until("nothing is in flight", || {
        mesh.admin().json("/debug/endpoints")["services"][0]["endpoints"][0]["in_flight"] == 0
    });
    assert_eq!(mesh.spread("http://web/", 10).total(), 10);
}

#[test]
fn a_request_with_two_lengths_is_refused() {
    let (backend, mesh) = web(&[]);
    check(&mesh, "malformed", |mut client| {
        client.send("POST http://web/two HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello").unwrap();
        expect_refusal(&mut client, &[400]);
    });
    assert!(backend.seen().iter().all(|seen| seen.target != "/two"));
}

#[test]
fn a_request_with_a_length_and_chunks_cannot_smuggle_another_one() {
    let (backend, mesh) = web(&[]);
    let mut client = mesh.connect();
    let smuggled = "GET http://web/smuggled HTTP/1.1\r\n\r\n";
    let chunks = format!("0\r\n\r\n{smuggled}");
    let head = format!(
        "POST http://web/echo HTTP/1.1\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        chunks.len()
    );
    client.send(head + &chunks).unwrap();
    let _ = client.response("POST");
    // Refused, or understood as by RFC 9112: then there are two requests, and both are the client's own.
    let _ = client.response("GET");
    let paths: Vec<_> =
        backend.seen().iter().map(|seen| (seen.target.clone(), seen.header("content-length").is_some())).collect();
    assert!(paths.iter().all(|(path, with_length)| path != "/echo" || !with_length), "{paths:?}");
}

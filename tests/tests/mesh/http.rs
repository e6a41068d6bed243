//! HTTP/1.1 as its clients and servers expect it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use wasmesh_tests::{Backend, Connection, Mesh, Scripted, Service};

/// A mesh with one backend behind `web`.
fn web() -> (Backend, Mesh) {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    (backend, mesh)
}

/// A backend that answers every request with these bytes, and the heads it has read.
fn canned(response: &'static str) -> (Scripted, Arc<Mutex<Vec<Vec<String>>>>) {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heads);
    let backend = Scripted::start(move |mut connection: Connection| {
        while let Some(head) = connection.request_head() {
            log.lock().unwrap().push(head);
            if connection.send(response).is_err() {
                return;
            }
        }
    });
    (backend, heads)
}

#[test]
fn connections_are_kept_on_both_sides() {
    let (backend, mesh) = web();
    let mut client = mesh.connect();
    for target in ["/", "/status/204", "/status/404", "/bytes/100000", "/status/304", "/"] {
        client.request("GET", &format!("http://web{target}"), "").unwrap();
        client.request("HEAD", &format!("http://web{target}"), "").unwrap();
    }
    assert_eq!((backend.requests(), backend.connections()), (12, 1));
}

#[test]
fn a_request_that_asks_to_close_is_answered_and_closed() {
    let (backend, mesh) = web();
    let mut client = mesh.connect();
    let response = client.request("GET", "http://web/", "Connection: close\r\n").unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(client.read_to_end().unwrap().is_empty());
    // That concerned the client's connection, not ours.
    mesh.get("http://web/");
    assert_eq!(backend.seen()[0].header("connection"), None);
}

#[test]
fn head_has_the_fields_of_get_and_no_body() {
    let (_backend, mesh) = web();
    let mut client = mesh.connect();
    let get = client.request("GET", "http://web/", "").unwrap();
    let head = client.request("HEAD", "http://web/", "").unwrap();
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(client.request("GET", "http://web/", "").unwrap(), get, "the connection is out of step");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (_backend, mesh) = web();
    let mut client = mesh.connect();
    let requests = [201, 202, 204, 404].map(|status| format!("GET http://web/status/{status} HTTP/1.1\r\n\r\n"));
    client.send(requests.concat()).unwrap();
    let answers: Vec<_> = (0..4).map(|_| client.response("GET").unwrap().status).collect();
    assert_eq!(answers, [201, 202, 204, 404]);
}

#[test]
fn a_client_of_http_1_0_is_served_without_chunks() {
    let (_backend, mesh) = web();
    let mut client = mesh.connect();
    client.send("GET http://web/bytes/200000 HTTP/1.0\r\n\r\n").unwrap();
    let response = client.response("GET").unwrap();
    assert_eq!((response.status, response.header("transfer-encoding")), (200, None), "{:?}", response.headers);
    assert_eq!(response.body.len(), 200_000);
    assert!(client.read_to_end().unwrap().is_empty(), "the connection is not closed");
}

#[test]
fn a_client_of_http_1_0_may_keep_its_connection() {
    let (backend, mesh) = web();
    let mut client = mesh.connect();
    for _ in 0..2 {
        client.send("GET http://web/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let response = client.response("GET").unwrap();
        assert_eq!(response.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("keep-alive"));
    }
    assert_eq!(backend.requests(), 2);
}

#[test]
fn a_server_of_http_1_0_is_understood() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.0 200 OK\r\n\r\nto the end");
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    // The proxy answers in its own version, so the client knows how the body ends and keeps its connection.
    let mut client = mesh.connect();
    for _ in 0..3 {
        let response = client.request("GET", "http://web/", "").unwrap();
        assert_eq!((response.version.as_str(), response.text().as_str()), ("HTTP/1.1", "to the end"), "{response:?}");
    }
}

#[test]
fn the_case_of_field_names_is_kept_both_ways() {
    let (backend, heads) = canned("HTTP/1.1 200 OK\r\nX-FROM-Server: 1\r\nContent-LENGTH: 2\r\n\r\nok");
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let response = mesh.connect().request("GET", "http://web/", "X-fRoM-Client: 1\r\n").unwrap();
    assert!(response.headers.contains(&("X-FROM-Server".to_owned(), "1".to_owned())), "{response:?}");
    let head = heads.lock().unwrap().concat();
    assert!(head.contains(&"X-fRoM-Client: 1".to_owned()), "{head:?}");
}

#[test]
fn fields_of_one_connection_are_not_passed_on() {
    let (backend, heads) = canned(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\n\
         X-Open: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let fields = "Connection: X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\n\
                  Proxy-Authorization: Basic c2VjcmV0\r\nTE: gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
                  X-Public: 1\r\n";
    let response = mesh.connect().request("GET", "http://web/", fields).unwrap();

    let names: BTreeSet<_> = response.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(names, ["content-length", "x-open"].map(String::from).into());
    let head = heads.lock().unwrap().concat();
    let names = head[1..].iter().filter_map(|line| line.split(':').next()).map(str::to_ascii_lowercase);
    assert_eq!(names.collect::<BTreeSet<_>>(), ["host", "x-public"].map(String::from).into(), "{head:?}");
}

#[test]
fn the_proxy_adds_nothing_to_a_message() {
    let (backend, heads) = canned("HTTP/1.1 200 Fine\r\nContent-Length: 2\r\n\r\nok");
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let response = mesh.connect().request("GET", "http://web/x", "").unwrap();
    assert_eq!(response.headers, [("Content-Length".to_owned(), "2".to_owned())]);
    assert_eq!(*heads.lock().unwrap(), [["GET /x HTTP/1.1", "Host: web"]]);
}

#[test]
fn several_fields_of_one_name_stay_several_and_in_order() {
    let (backend, heads) = canned("HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n");
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let response = mesh.connect().request("GET", "http://web/", "X-Via: 1\r\nX-Via: 2\r\n").unwrap();
    let cookies: Vec<_> = response.headers.iter().filter(|(name, _)| name == "Set-Cookie").map(|(_, v)| v).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let head = heads.lock().unwrap().concat();
    assert!(head.ends_with(&["X-Via: 1".to_owned(), "X-Via: 2".to_owned()]), "{head:?}");
}

/// A client that waits for 100 before it sends its body is told to go on, and gets its body back.
#[track_caller]
fn assert_echoes_to_a_client_that_waits(backend: &Scripted) {
    let mesh = Mesh::of([Service::new("web").endpoint(backend)]);
    let mut client = mesh.connect();
    client.send("POST http://web/ HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 100);
    client.send("hello").unwrap();
    assert_eq!(client.response("POST").unwrap().text(), "hello");
}

#[test]
fn expect_continue_is_answered_by_the_backend_before_the_body_is_sent() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 100 Continue\r\n\r\n");
        let Ok(body) = connection.read_exactly(5) else { return };
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let _ = connection.send(body);
    });
    assert_echoes_to_a_client_that_waits(&backend);
}

#[test]
fn a_backend_that_does_not_know_the_expectation_gets_the_body_all_the_same() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let Ok(body) = connection.read_exactly(5) else { return };
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let _ = connection.send(body);
    });
    assert_echoes_to_a_client_that_waits(&backend);
}

#[test]
fn a_refusal_comes_before_the_body_of_a_client_that_waits_for_100() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("POST http://web/ HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 417);
}

#[test]
fn a_bare_path_is_no_request_for_a_proxy() {
    let (_backend, mesh) = web();
    let response = mesh.connect().request("GET", "/", "").unwrap();
    assert_eq!((response.status, response.wasmesh_error()), (400, Some("bad-request")));
    let response = mesh.connect().request("GET", "https://web/", "").unwrap();
    assert_eq!((response.status, response.wasmesh_error()), (400, Some("bad-request")));
}

#[test]
fn a_client_that_goes_away_is_noticed_while_its_backend_is_silent() {
    let (backend, mesh) = web();
    backend.hold();
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    wasmesh_tests::until("the backend has the request", || backend.requests() == 1);
    client.finish().unwrap();
    let in_flight = || mesh.endpoints("default/web")[0]["in_flight"].clone();
    wasmesh_tests::until("the request is no load any more", || in_flight() == 0);
    backend.release();
}

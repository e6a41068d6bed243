//! What breaks behind the proxy and what its client sees of it.

use wasmesh_tests::{Backend, Connection, Mesh, Scripted, Service, dead_address};

#[test]
fn an_endpoint_that_refuses_connections_costs_no_request() {
    let [a, b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoints([&a, &b]).endpoint(dead_address())]);
    let load = mesh.load("http://web/", 4);
    load.wait_answered(400);
    load.finish_without_error();
}

#[test]
fn an_endpoint_that_dies_under_load_costs_no_request_that_can_be_repeated() {
    let [a, mut b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoints([&a, &b])]);
    for _ in 0..5 {
        let mut client = mesh.client();
        (0..20).for_each(|_| assert_eq!(client.get("http://web/").status, 200));
        b.kill();
        (0..20).for_each(|_| assert_eq!(client.get("http://web/").status, 200));
        b.restart();
    }
}

#[test]
fn a_body_reaches_another_endpoint_when_the_first_refuses() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend).endpoint(dead_address())]);
    for _ in 0..10 {
        let mut client = mesh.connect();
        client.send("POST http://web/echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        assert_eq!(client.response("POST").unwrap().text(), "hello");
    }
}

#[test]
fn when_all_endpoints_refuse_the_answer_is_503_and_says_so() {
    let mesh = Mesh::of([Service::new("web").endpoint(dead_address()).endpoint(dead_address())]);
    let response = mesh.get("http://web/");
    assert_eq!((response.status, response.wasmesh_error()), (503, Some("connect-failed")));
    assert!(response.text().contains("none of 2 endpoints"), "{}", response.text());
}

#[test]
fn an_endpoint_that_does_not_answer_the_connection_is_left_for_another_one() {
    // A listener whose queue is full drops what comes: to connect to it takes for ever.
    let full = std::net::TcpListener::bind((wasmesh_tests::fresh_ip(), 0)).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let address = full.local_addr().unwrap();
    let timeout = std::time::Duration::from_millis(200);
    let kept: Vec<_> = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, timeout).ok()).collect();
    assert!(!kept.is_empty());

    let backend = Backend::start();
    let mesh = Mesh::with(&["--connect-timeout=0.05"], [Service::new("web").endpoint(&backend).endpoint(address)]);
    assert_eq!(mesh.spread("http://web/", 20).total(), 20);
}

#[test]
fn an_endpoint_that_accepts_connections_and_closes_them_is_left_for_another_one() {
    let broken = Scripted::start(drop);
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoint(&backend).endpoint(&broken)]);
    assert_eq!(mesh.spread("http://web/", 50).backends(), [backend.address()]);

    let alone = Mesh::of([Service::new("web").endpoint(&broken)]);
    assert!(matches!(alone.get("http://web/").wasmesh_error(), Some("upstream" | "connect-failed")));
}

/// A server that closes a connection after so many answers without saying so before.
fn closing_after(answers: usize) -> Scripted {
    Scripted::start(move |mut connection: Connection| {
        for _ in 0..answers {
            if connection.request_head().is_none() {
                return;
            }
            let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

#[test]
fn a_get_never_fails_on_a_connection_that_was_closed_while_idle() {
    let backend = closing_after(1);
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.client();
    for _ in 0..300 {
        assert_eq!(client.get("http://web/").status, 200);
    }
}

#[test]
fn a_get_never_fails_on_a_connection_that_is_closed_as_it_arrives() {
    // The second request is read, and then the connection closed without an answer, as by a server that was closing.
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        connection.request_head();
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.client();
    for _ in 0..100 {
        assert_eq!(client.get("http://web/").status, 200);
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    let posts = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&posts);
    let backend = Scripted::start(move |mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        if connection.request_head().is_some_and(|head| head[0].starts_with("POST")) {
            counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.request("GET", "http://web/", "").unwrap();
    let response = client.request("POST", "http://web/", "Content-Length: 0\r\n").unwrap();
    assert_eq!((response.status, response.wasmesh_error()), (502, Some("upstream")));
    assert_eq!(posts.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn a_connection_that_breaks_before_the_answer_is_502() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let response = mesh.get("http://web/");
    assert_eq!((response.status, response.wasmesh_error()), (502, Some("upstream")));
}

#[test]
fn a_server_that_speaks_no_http_is_502() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send("220 mail.example ESMTP\r\n");
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let response = mesh.get("http://web/");
    assert_eq!((response.status, response.wasmesh_error()), (502, Some("upstream")));
}

#[test]
fn a_response_that_breaks_off_is_never_taken_for_whole() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    ] {
        let backend = Scripted::start(move |mut connection| {
            connection.request_head();
            let _ = connection.send(response);
        });
        let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
        let broken = mesh.connect().request("GET", "http://web/", "");
        assert!(broken.is_err(), "{broken:?}");
        // The next client is not affected.
        assert!(mesh.connect().request("GET", "http://web/", "").is_err());
    }
}

#[test]
fn a_client_that_goes_away_ends_the_request_at_the_backend() {
    let (gone, told) = std::sync::mpsc::channel();
    let backend = Scripted::start(move |mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        // That the client is gone shows when it does not take what is sent to it.
        while connection.send("data: 1\n\n").is_ok() {}
        let _ = gone.send(());
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    client.head().unwrap();
    drop(client);
    told.recv_timeout(wasmesh_tests::PATIENCE).expect("the connection to the backend is closed");
    wasmesh_tests::until("nothing is in flight", || {
        mesh.admin().json("/debug/endpoints")["services"][0]["endpoints"][0]["in_flight"] == 0
    });
}

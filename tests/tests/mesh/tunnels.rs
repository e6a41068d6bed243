//! Connections that stop being HTTP: upgrades and CONNECT.

use wasmesh_tests::{Backend, Connection, Mesh, Scripted, Service, dead_address, until};

/// A server that switches to a protocol in which every byte is sent back.
fn upgrading() -> Scripted {
    Scripted::start(|mut connection| {
        let Some(head) = connection.request_head() else { return };
        let asks = |field: &str| head.iter().any(|line| line.eq_ignore_ascii_case(field));
        if asks("connection: upgrade") && asks("upgrade: websocket") {
            let _ = connection
                .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            echo(connection);
        } else {
            let _ = connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    })
}

/// Sends everything back, and ends when the other side has.
fn echo(mut connection: Connection) {
    while let Ok(byte) = connection.read_exactly(1) {
        if connection.send(byte).is_err() {
            return;
        }
    }
}

/// A server that answers only when the client has ended its side.
fn patient() -> Scripted {
    Scripted::start(|mut connection| {
        let Ok(said) = connection.read_to_end() else { return };
        let _ = connection.send(format!("you said {}", String::from_utf8_lossy(&said)));
    })
}

#[test]
fn a_websocket_is_tunnelled_end_to_end() {
    let backend = upgrading();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("GET http://web/ HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
    let answer = client.head().unwrap();
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
    for text in ["ping", "\0\u{1}\u{2}", "pong"] {
        client.send(text).unwrap();
        assert_eq!(client.read_exactly(text.len()).unwrap(), text.as_bytes());
    }
    client.finish().unwrap();
    assert!(client.read_to_end().unwrap().is_empty());
}

#[test]
fn an_upgrade_that_the_server_refuses_is_a_response_like_any_other() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(client.request("GET", "http://web/", fields).unwrap().status, 200);
    assert_eq!(client.request("GET", "http://web/", "").unwrap().status, 200);
}

#[test]
fn an_upgraded_connection_is_never_reused() {
    let backend = upgrading();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    for round in 1..=5 {
        let mut client = mesh.connect();
        client.send("GET http://web/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 101);
        assert_eq!(backend.connections(), round);
    }
}

#[test]
fn connect_is_balanced_over_the_endpoints() {
    let (a, b) = (patient(), patient());
    let mesh = Mesh::of([Service::new("db").app_protocol("tcp").policy("round-robin").endpoints([&a, &b])]);
    for _ in 0..8 {
        let mut client = mesh.connect();
        client.send("CONNECT db:80 HTTP/1.1\r\nHost: db:80\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
    }
    until("both endpoints are connected to", || a.connections() > 0 && b.connections() > 0);
}

#[test]
fn a_tunnel_may_be_half_closed_by_the_client() {
    let backend = patient();
    let mesh = Mesh::of([Service::new("db").app_protocol("tcp").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("CONNECT db:80 HTTP/1.1\r\nHost: db:80\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    client.send("hello").unwrap();
    client.finish().unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"you said hello");
}

#[test]
fn what_follows_connect_at_once_is_not_lost() {
    let backend = patient();
    let mesh = Mesh::of([Service::new("db").app_protocol("tcp").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("CONNECT db:80 HTTP/1.1\r\nHost: db:80\r\n\r\nhello").unwrap();
    client.finish().unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.read_to_end().unwrap(), b"you said hello");
}

#[test]
fn a_tunnel_may_be_half_closed_by_the_server() {
    let backend = Scripted::start(|mut connection| {
        let _ = connection.send("banner");
        let _ = connection.finish();
        let said = connection.read_to_end().unwrap_or_default();
        assert_eq!(said, b"late");
    });
    let mesh = Mesh::of([Service::new("db").app_protocol("tcp").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("CONNECT db:80 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.read_to_end().unwrap(), b"banner");
    client.send("late").unwrap();
}

#[test]
fn connect_to_what_is_not_the_meshs_is_passed_through() {
    let backend = patient();
    let mesh = Mesh::of([]);
    let mut client = mesh.connect();
    client.send(format!("CONNECT {} HTTP/1.1\r\n\r\n", backend.address())).unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    client.send("hello").unwrap();
    client.finish().unwrap();
    assert_eq!(client.read_to_end().unwrap(), b"you said hello");
}

#[test]
fn connect_fails_with_an_answer_that_says_why() {
    let mesh = Mesh::of([Service::new("empty")]);
    let nobody = format!("{}", dead_address());
    for (target, status, why) in
        [("empty:80", 503, "no-endpoints"), (nobody.as_str(), 502, "passthrough-failed"), ("empty", 400, "bad-request")]
    {
        let response = mesh.connect().request("CONNECT", target, "").unwrap();
        assert_eq!((response.status, response.wasmesh_error()), (status, Some(why)), "{target}");
    }
}

#[test]
fn a_tunnel_whose_endpoints_all_refuse_is_answered_with_the_reason() {
    let mesh = Mesh::of([Service::new("dead").app_protocol("tcp").endpoint(dead_address())]);
    let mut client = mesh.connect();
    client.send("CONNECT dead:80 HTTP/1.1\r\n\r\n").unwrap();
    let response = client.response("CONNECT").unwrap();
    assert_eq!((response.status, response.wasmesh_error()), (503, Some("connect-failed")));
}

#[test]
fn http_in_a_tunnel_is_balanced_by_request() {
    let [a, b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints([&a, &b])]);
    let mut client = mesh.connect();
    client.send("CONNECT web:80 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    let answers: std::collections::BTreeSet<_> =
        (0..4).map(|_| client.request("GET", "/", "").unwrap().backend()).collect();
    assert_eq!(answers, [a.address(), b.address()].into());
}

#[test]
fn connect_is_retried_on_another_endpoint() {
    let backend = patient();
    let service =
        Service::new("db").app_protocol("tcp").endpoint(dead_address()).endpoint(dead_address()).endpoint(&backend);
    let mesh = Mesh::of([service]);
    for _ in 0..10 {
        let mut client = mesh.connect();
        client.send("CONNECT db:80 HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
    }
}

#[test]
fn a_connection_that_breaks_before_anything_has_passed_goes_to_another_endpoint() {
    let resetting: [_; 2] = std::array::from_fn(|_| Scripted::start(Connection::reset));
    let greeting = Scripted::start(|mut connection| {
        let _ = connection.send("hello");
        echo(connection);
    });
    let service = Service::new("db").policy("round-robin").endpoints(&resetting).endpoint(&greeting);
    for service in [service.clone().app_protocol("tcp"), service.undeclared()] {
        let before = resetting.each_ref().map(Scripted::connections);
        let mesh = Mesh::of([service]);
        for _ in 0..10 {
            let mut client = mesh.connect();
            client.send("CONNECT db:80 HTTP/1.1\r\n\r\n").unwrap();
            assert_eq!(client.head().unwrap().status, 200);
            assert_eq!(client.read_exactly(5).unwrap(), b"hello");
            client.send("and").unwrap();
            assert_eq!(client.read_exactly(3).unwrap(), b"and");
        }
        let tried = resetting.each_ref().map(Scripted::connections);
        assert!(tried.iter().zip(before).all(|(tried, before)| *tried > before), "{tried:?}");
    }
}

#[test]
fn a_connection_that_every_endpoint_breaks_is_broken() {
    let resetting = Scripted::start(Connection::reset);
    let mesh = Mesh::of([Service::new("db").app_protocol("tcp").endpoint(&resetting)]);
    let mut client = mesh.connect();
    client.send("CONNECT db:80 HTTP/1.1\r\n\r\n").unwrap();
    match client.head().unwrap().status {
        200 => assert!(client.read_to_end().is_ok_and(|rest| rest.is_empty())),
        // The reset was there before the connection counted as made.
        status => assert_eq!(status, 503),
    }
}

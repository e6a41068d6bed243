//! The corners of HTTP/1.1, through the explicit proxy and on captured connections.

use wasmesh_tests::{Backend, Connection, Mesh, Scripted, Service};

/// A connection that is taken for captured on its way to `web`.
#[track_caller]
fn captured(mesh: &Mesh) -> Connection {
    let mut client = mesh.connect();
    client.send("CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    client
}

/// A backend that answers each request with what it got, body and trailers included, as text.
fn mirror() -> Scripted {
    Scripted::start(|mut connection| {
        while let Some(head) = connection.request_head() {
            let mut text = head.join("\n");
            if head.iter().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked")) {
                text += "\n";
                loop {
                    let size = connection.line().unwrap_or_default();
                    let length = usize::from_str_radix(&size, 16).unwrap_or(0);
                    if length == 0 {
                        break;
                    }
                    text += &String::from_utf8_lossy(&connection.read_exactly(length + 2).unwrap_or_default());
                }
                while let Some(line) = connection.line().ok().filter(|line| !line.is_empty()) {
                    text += &format!("trailer {line}\n");
                }
            }
            let _ = connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    })
}

/// A backend that answers every head with this.
fn canned(answer: &'static str) -> Scripted {
    Scripted::start(move |mut connection| {
        while connection.request_head().is_some() {
            let _ = connection.send(answer);
            if !answer.to_ascii_lowercase().contains("content-length") && !answer.contains("chunked") {
                return;
            }
        }
    })
}

fn mesh_of(backend: &Scripted) -> Mesh {
    Mesh::of([Service::new("web").endpoint(backend)])
}

#[test]
fn chunks_and_trailers_of_a_request_reach_the_backend() {
    let backend = mirror();
    let mesh = mesh_of(&backend);
    for _ in 0..3 {
        let mut client = captured(&mesh);
        client.send("POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n").unwrap();
        client.send("5\r\nhello\r\n6;extension=1\r\n world\r\n0\r\nSum: 42\r\n\r\n").unwrap();
        let text = client.response("POST").unwrap().text().to_lowercase();
        assert!(text.contains("hello") && text.contains(" world") && text.contains("trailer sum: 42"), "{text}");
    }
}

#[test]
fn a_request_of_a_captured_connection_goes_where_the_connection_went() {
    let backend = mirror();
    let other = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend), Service::new("other").endpoint(&other)]);
    for host in ["other", "other:80", "example.com", "10.96.0.1", ""] {
        let mut client = captured(&mesh);
        client.send(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
        let text = client.response("GET").unwrap().text();
        assert!(text.starts_with("GET /x HTTP/1.1") && text.contains(format!("Host: {host}").trim_end()), "{text}");
    }
    assert_eq!(other.requests(), 0);
}

#[test]
fn options_of_the_server_as_a_whole() {
    let backend = mirror();
    let mesh = mesh_of(&backend);
    let text = captured(&mesh).request("OPTIONS", "*", "").unwrap().text();
    assert!(text.starts_with("OPTIONS * HTTP/1.1"), "{text}");
    let text = mesh.connect().request("OPTIONS", "http://web/", "").unwrap().text();
    assert!(text.starts_with("OPTIONS / HTTP/1.1"), "{text}");
}

#[test]
fn an_absolute_target_on_a_captured_connection_is_understood() {
    let backend = mirror();
    let mesh = mesh_of(&backend);
    let text = captured(&mesh).request("GET", "http://elsewhere/x?y", "").unwrap().text();
    let first = text.lines().next().unwrap_or_default();
    assert!(matches!(first, "GET /x?y HTTP/1.1" | "GET http://elsewhere/x?y HTTP/1.1"), "{text}");
}

#[test]
fn a_response_that_ends_with_the_connection_is_whole_and_the_clients_goes_on() {
    let backend = canned("HTTP/1.1 200 OK\r\n\r\nup to the end");
    let mesh = mesh_of(&backend);
    let mut client = captured(&mesh);
    for _ in 0..3 {
        assert_eq!(client.request("GET", "/", "").unwrap().text(), "up to the end");
    }
}

#[test]
fn a_client_of_1_0_gets_no_chunks_and_the_end_of_the_connection() {
    let backend = canned("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let mesh = mesh_of(&backend);
    let mut client = captured(&mesh);
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    let text = String::from_utf8(client.read_to_end().unwrap()).unwrap();
    assert!(text.ends_with("\r\n\r\nhello") && !text.to_lowercase().contains("chunked"), "{text}");
}

#[test]
fn a_server_of_1_0_is_spoken_to_like_any_other() {
    let backend = canned("HTTP/1.0 200 OK\r\n\r\nold");
    let mesh = mesh_of(&backend);
    let mut client = captured(&mesh);
    for _ in 0..3 {
        let answer = client.request("GET", "/", "").unwrap();
        assert_eq!((answer.version.as_str(), answer.text().as_str()), ("HTTP/1.1", "old"));
    }
}

#[test]
fn refusals_come_before_a_body_that_waits() {
    for status in ["417 Expectation Failed", "413 Content Too Large", "401 Unauthorized"] {
        let backend = Scripted::start(move |mut connection| {
            connection.request_head();
            let _ = connection.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
            // A body must not come: neither from a client that waits, nor from the proxy.
            assert!(connection.read_exactly(1).is_err());
        });
        let mesh = mesh_of(&backend);
        let mut client = captured(&mesh);
        client.send("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
        let answer = client.response("PUT").unwrap();
        assert_eq!(answer.status.to_string(), status[..3], "the first thing that is heard");
    }
}

#[test]
fn a_body_that_waits_is_sent_once_it_is_asked_for() {
    let backend = Scripted::start(|mut connection| {
        while connection.request_head().is_some() {
            let _ = connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            let body = connection.read_exactly(5).unwrap_or_default();
            let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
            let _ = connection.send(body);
        }
    });
    let mesh = mesh_of(&backend);
    let mut client = captured(&mesh);
    for _ in 0..3 {
        client.send("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 100);
        client.send("hello").unwrap();
        assert_eq!(client.response("PUT").unwrap().text(), "hello");
    }
}

#[test]
fn pipelined_requests_with_bodies_stay_in_order() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = captured(&mesh);
    let requests: String = (0..20)
        .map(|number| format!("POST /echo HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\n{number:04}"))
        .collect();
    client.send(requests).unwrap();
    for number in 0..20 {
        assert_eq!(client.response("POST").unwrap().text(), format!("{number:04}"));
    }
}

#[test]
fn head_passes_with_the_length_that_get_would_have() {
    let backend = canned("HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n");
    let mesh = mesh_of(&backend);
    let mut client = captured(&mesh);
    for _ in 0..3 {
        let answer = client.request("HEAD", "/", "").unwrap();
        assert_eq!(answer.header("content-length"), Some("123456"));
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn long_heads_pass_both_ways() {
    let backend = mirror();
    let mesh = mesh_of(&backend);
    for fields in [1, 7, 90] {
        let mut client = captured(&mesh);
        let long: String = (0..fields).map(|at| format!("X-{at}: {}\r\n", "y".repeat(54_000 / fields))).collect();
        let text = client.request("GET", "/", &long).unwrap().text();
        assert_eq!(text.matches("X-").count(), fields, "{} bytes", text.len());
    }
    let long = Scripted::start(|mut connection| {
        while connection.request_head().is_some() {
            let fields: String = (0..95).map(|at| format!("X-{at}: {}\r\n", "y".repeat(1000))).collect();
            let _ = connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{fields}\r\n"));
        }
    });
    let mesh = mesh_of(&long);
    let answer = captured(&mesh).request("GET", "/", "").unwrap();
    assert_eq!((answer.status, answer.headers.len()), (200, 96));
}

#[test]
fn early_hints_do_not_confuse_anybody() {
    let backend =
        canned("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let mesh = mesh_of(&backend);
    let mut client = captured(&mesh);
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
        let mut answer = client.response("GET").unwrap();
        if answer.status == 103 {
            answer = client.response("GET").unwrap();
        }
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
}

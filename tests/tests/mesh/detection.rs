//! What is spoken on ports that declare nothing: every connection gets its right answer, and is treated as what it is.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use wasmesh_tests::{
    Backend, Connection, EndpointManifest, Http2Backend, Http2Client, Http2Options, Mesh, Scripted, Service, runtime,
};

const CONNECTIONS: usize = 200;
const AT_ONCE: usize = 20;

/// What a connection should have been taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    ForHttp,
    ForBytes,
}

fn tunnel(mesh: &Mesh, service: &str) -> io::Result<Connection> {
    let mut client = mesh.connect();
    client.send(format!("CONNECT {service}:80 HTTP/1.1\r\n\r\n"))?;
    let answer = client.head()?;
    if answer.status == 200 { Ok(client) } else { Err(io::Error::other(format!("{answer:?}"))) }
}

/// Opens 200 connections to an undeclared port, `AT_ONCE` at a time; `speak` tells whether one got its right answer.
#[track_caller]
fn check(
    service: &'static str,
    backend: impl Into<EndpointManifest>,
    taken: Taken,
    speak: impl Fn(&mut Connection) -> io::Result<bool> + Send + Sync + 'static,
) {
    let mesh = Arc::new(Mesh::of([Service::new(service).endpoint(backend).undeclared()]));
    let speak = Arc::new(speak);
    let clients = (0..AT_ONCE).map(|_| {
        let (mesh, speak) = (Arc::clone(&mesh), Arc::clone(&speak));
        thread::spawn(move || {
            for _ in 0..CONNECTIONS / AT_ONCE {
                let right = tunnel(&mesh, service).and_then(|mut client| speak(&mut client));
                assert!(matches!(right, Ok(true)), "{service}: {right:?}");
            }
        })
    });
    clients.collect::<Vec<_>>().into_iter().for_each(|client| client.join().unwrap());
    expect_taken(&mesh, service, taken);
}

/// So many were taken for what they are.
#[track_caller]
fn expect_taken(mesh: &Mesh, service: &str, taken: Taken) {
    let labels = [("service", service)];
    let http = mesh.admin().metric("wasmesh_requests_total", &labels) as usize;
    let bytes = mesh.admin().metric("wasmesh_tcp_connections_opened_total", &labels) as usize;
    let expected = match taken {
        Taken::ForHttp => (CONNECTIONS, 0),
        Taken::ForBytes => (0, CONNECTIONS),
    };
    eprintln!("{service}: {http} requests of HTTP, {bytes} connections of bytes");
    assert_eq!((http, bytes), expected, "{service}: requests of HTTP, connections of bytes");
}

/// Reads something and sends it back in capitals, for ever.
fn shout(connection: &mut Connection, length: usize) {
    while let Ok(said) = connection.read_exactly(length) {
        if connection.send(said.to_ascii_uppercase()).is_err() {
            return;
        }
    }
}

fn get(client: &mut Connection) -> io::Result<bool> {
    Ok(client.request("GET", "/", "")?.status == 200)
}

#[test]
fn http1() {
    let backend = Backend::start();
    check("http1", &backend, Taken::ForHttp, get);
}

#[test]
fn http1_of_silent_clients() {
    let backend = Backend::start();
    check("http1-silent", &backend, Taken::ForHttp, |client| {
        thread::sleep(Duration::from_millis(40));
        get(client)
    });
}

#[test]
fn http1_that_dribbles() {
    let backend = Backend::start();
    check("http1-dribble", &backend, Taken::ForHttp, |client| {
        for byte in b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" {
            client.send([*byte])?;
            thread::sleep(Duration::from_millis(1));
        }
        Ok(client.response("GET")?.status == 200)
    });
}

#[test]
fn a_request_line_with_long_pauses_is_answered_all_the_same() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend).undeclared()]);
    for cut in [1, 3, 5, 10] {
        let mut client = tunnel(&mesh, "web").unwrap();
        let (first, rest) = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".split_at(cut);
        client.send(first).unwrap();
        thread::sleep(Duration::from_millis(300));
        client.send(rest).unwrap();
        assert_eq!(client.response("GET").unwrap().status, 200, "cut at {cut}");
    }
}

/// The same over HTTP/2: each connection has one request.
#[track_caller]
fn check_http2(service: &'static str, options: Http2Options, silence: Duration) {
    let backend = Http2Backend::with(options);
    let mesh = Mesh::of([Service::new(service).endpoint(&backend).undeclared()]);
    runtime().block_on(async {
        for _ in 0..CONNECTIONS / AT_ONCE {
            let mut clients = tokio::task::JoinSet::new();
            for _ in 0..AT_ONCE {
                let (proxy, to) = (mesh.http(), format!("{service}:80"));
                clients.spawn(async move {
                    let client = Http2Client::connect_after(silence, proxy, &to).await.unwrap();
                    client.get("/").await.unwrap().head.status()
                });
            }
            assert!(clients.join_all().await.iter().all(|status| *status == 200));
        }
    });
    expect_taken(&mesh, service, Taken::ForHttp);
}

#[test]
fn http2_whose_server_waits() {
    let options = Http2Options { waits: true, ..Http2Options::default() };
    check_http2("h2", options.clone(), Duration::ZERO);
    check_http2("h2-silent", options, Duration::from_millis(40));
}

#[test]
fn http2_whose_server_sends_its_settings_first() {
    check_http2("grpc", Http2Options::default(), Duration::ZERO);
    check_http2("grpc-silent", Http2Options::default(), Duration::from_millis(40));
}

#[test]
fn tls() {
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03rest of a hello";
    let backend = Scripted::start(move |mut connection| shout(&mut connection, hello.len()));
    check("tls", &backend, Taken::ForBytes, move |client| {
        client.send(hello)?;
        Ok(client.read_exactly(hello.len())? == hello.to_ascii_uppercase())
    });
}

#[test]
fn a_mail_server_that_greets() {
    let backend = Scripted::start(|mut connection| {
        let _ = connection.send("220 mail.example ESMTP\r\n");
        while let Ok(line) = connection.line() {
            let _ = connection.send(format!("250 {line}\r\n"));
        }
    });
    check("smtp", &backend, Taken::ForBytes, |client| {
        let greeted = client.line()?.starts_with("220 ");
        client.send("EHLO client.example\r\n")?;
        Ok(greeted && client.line()? == "250 EHLO client.example")
    });
}

#[test]
fn a_database_that_greets_in_binary() {
    let greeting = b"\x4a\0\0\0\x0a8.0.36\0 and so on";
    let backend = Scripted::start(move |mut connection| {
        let _ = connection.send(greeting);
        shout(&mut connection, 4);
    });
    check("mysql", &backend, Taken::ForBytes, move |client| {
        let greeted = client.read_exactly(greeting.len())? == greeting;
        client.send("auth")?;
        Ok(greeted && client.read_exactly(4)? == b"AUTH")
    });
}

#[test]
fn both_sides_that_greet_at_once() {
    let backend = Scripted::start(|mut connection| {
        let _ = connection.send("SSH-2.0-server\r\n");
        let said = connection.line().unwrap_or_default();
        let _ = connection.send(format!("hello {said}\r\n"));
    });
    check("ssh", &backend, Taken::ForBytes, |client| {
        client.send("SSH-2.0-client\r\n")?;
        Ok(client.line()? == "SSH-2.0-server" && client.line()? == "hello SSH-2.0-client")
    });
}

#[test]
fn a_silent_client_of_a_silent_server_may_say_anything_later() {
    let backend = Scripted::start(|mut connection| shout(&mut connection, 5));
    check("silent", &backend, Taken::ForBytes, |client| {
        thread::sleep(Duration::from_millis(40));
        client.send("*hel\n")?;
        Ok(client.read_exactly(5)? == b"*HEL\n")
    });
}

#[test]
fn texts_that_begin_like_http() {
    let backend = Scripted::start(|mut connection| shout(&mut connection, 16));
    for text in [*b"GET  the teapot\n", *b"PRI * HTTP/2.0\rx", *b"OPTIONS * RTSP\r\n", *b"POST-IT-NOTE\r\n\r\n"] {
        let mesh = Mesh::of([Service::new("web").endpoint(&backend).undeclared()]);
        let mut client = tunnel(&mesh, "web").unwrap();
        client.send(text).unwrap();
        assert_eq!(client.read_exactly(16).unwrap(), text.to_ascii_uppercase(), "{}", text.escape_ascii());
    }
}

#[test]
fn a_port_that_greets_some_and_not_others_is_never_mistaken() {
    // Learned from the one, not held against the other.
    let greeting = Scripted::start(|mut connection| {
        let _ = connection.send("220 hello\r\n");
        let _ = connection.line();
    });
    let web = Backend::start();
    let mesh = Mesh::with(&["--workers=1"], [Service::new("mixed").endpoint(&greeting).undeclared()]);
    assert_eq!(tunnel(&mesh, "mixed").unwrap().line().unwrap(), "220 hello");
    mesh.apply([Service::new("mixed").endpoint(&web).undeclared()]);
    for pause in [0, 5, 20, 40] {
        let mut client = tunnel(&mesh, "mixed").unwrap();
        thread::sleep(Duration::from_millis(pause));
        assert!(get(&mut client).unwrap(), "after {pause} ms");
    }
}

#[test]
fn a_greeting_is_late_once_and_then_no_more() {
    let backend = Scripted::start(|mut connection| {
        let _ = connection.send("220 hello\r\n");
        let _ = connection.line();
    });
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    let greeted = |mesh: &Mesh| {
        let mut client = tunnel(mesh, "web").unwrap();
        let start = Instant::now();
        client.line().unwrap();
        start.elapsed()
    };
    let mut first = Vec::new();
    let mut learned = Vec::new();
    for _ in 0..5 {
        let mesh = Mesh::with(&["--workers=1"], [Service::new("web").endpoint(&backend).undeclared()]);
        first.push(greeted(&mesh));
        learned.extend((0..20).map(|_| greeted(&mesh)));
    }
    let (first, learned) = (median(first), median(learned));
    eprintln!("until the greeting: {first:?} at first, {learned:?} once it is known");
    // 10 ms by design; a busy machine is slower.
    assert!(first < Duration::from_millis(200) && learned < first, "{first:?} {learned:?}");
}

//! The admin server, as its clients see it: bytes on a socket.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing; clippy.toml does not reach helpers")]

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wasmesh_telemetry::{Admin, Readiness, metrics};

struct Server {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start() -> Server {
    let admin = Admin::new(metrics::install(), || Readiness::Ready)
        .page("/debug/echo", |query| json!({ "said": query.get("say") }))
        .page("/debug/big", |_| json!("x".repeat(64 << 20)))
        .page("/debug/broken", |_| -> serde_json::Value { panic!("a page with a bug") });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(admin.serve(listener, async { drop(stopped.await) }));
    Server { addr, stop, task }
}

/// Everything the server sends until it closes.
async fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

async fn get(addr: SocketAddr, path: &str) -> String {
    ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: mesh\r\n\r\n")).await
}

#[track_caller]
fn assert_answer(answer: &str, status: &str, parts: &[&str]) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    for part in parts {
        assert!(answer.contains(part), "{answer:?} lacks {part:?}");
    }
}

#[tokio::test]
async fn pages_are_answered() {
    let server = start().await;
    assert_answer(&get(server.addr, "/livez").await, "200 OK", &["\r\n\r\nok\n"]);
    assert_answer(&get(server.addr, "/readyz").await, "200 OK", &["\r\n\r\nok\n"]);
    assert_answer(&get(server.addr, "/nowhere").await, "404", &["nothing at /nowhere", "\n/debug/echo\n"]);
    let echo = get(server.addr, "/debug/echo?say=a%20b").await;
    assert_answer(&echo, "200 OK", &["content-type: application/json\r\n", "\"said\": \"a b\""]);
}

#[tokio::test]
async fn metrics_come_as_prometheus_text() {
    let server = start().await;
    metrics::install().histograms().get("wasmesh_admin_test_seconds", &[]).record(5);
    let content_type = "content-type: text/plain; version=0.0.4; charset=utf-8\r\n";
    let counts = "\nwasmesh_admin_test_seconds_count 1\n";
    assert_answer(&get(server.addr, "/metrics").await, "200 OK", &[content_type, counts]);
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = start().await;
    let answer = ask(server.addr, "HEAD /livez HTTP/1.1\r\nHost: mesh\r\n\r\n").await;
    assert_answer(&answer, "200 OK", &["content-length: 3\r\n"]);
    assert!(answer.ends_with("\r\n\r\n"), "{answer:?}");
}

#[tokio::test]
async fn other_methods_are_refused() {
    let server = start().await;
    let answer = ask(server.addr, "POST /livez HTTP/1.1\r\nHost: mesh\r\nContent-Length: 2\r\n\r\nhi").await;
    assert_answer(&answer, "405", &["allow: GET, HEAD\r\n"]);
}

#[tokio::test]
async fn garbage_is_answered_and_harms_nobody() {
    let server = start().await;
    assert_answer(&ask(server.addr, "\u{1}\u{2}\u{3} what\r\n\r\n").await, "400", &[]);
    assert_eq!(get(server.addr, "/debug/broken").await, "", "a page that panics ends its own connection only");
    assert_answer(&get(server.addr, "/livez").await, "200 OK", &[]);
}

#[tokio::test]
async fn many_silent_clients_do_not_keep_a_probe_waiting() {
    let server = start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(b"GET /livez HT").await.unwrap();
        silent.push(stream);
    }
    let answer = timeout(Duration::from_secs(1), get(server.addr, "/livez")).await.unwrap();
    assert_answer(&answer, "200 OK", &[]);
}

#[tokio::test]
async fn a_silent_client_is_let_go() {
    let server = start().await;
    let asked = Instant::now();
    ask(server.addr, "GET /livez HT").await;
    assert!(asked.elapsed() >= Duration::from_secs(4), "five seconds for the head of a request");
}

#[tokio::test]
async fn it_stops_when_told_even_if_a_client_does_not_read() {
    let server = start().await;
    let mut lazy = TcpStream::connect(server.addr).await.unwrap();
    lazy.write_all(b"GET /debug/big HTTP/1.1\r\nHost: mesh\r\n\r\n").await.unwrap();
    lazy.readable().await.unwrap();
    server.stop.send(()).unwrap();
    timeout(Duration::from_secs(5), server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err());
}

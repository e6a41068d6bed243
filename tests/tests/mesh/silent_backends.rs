//! Backends that take a request and never answer: nothing of ours ends the wait, and nothing is held for a client that does.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::{HeaderMap, Method};
use wasmesh_tests::{Connection, Http2Backend, Http2Client, Http2Options, Mesh, Scripted, Service, runtime, until};

/// Takes requests, never answers, and counts the connections that it has been left on.
fn silent() -> (Scripted, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&left);
    let backend = Scripted::start(move |mut connection| {
        connection.request_head();
        // Its end, in order or not.
        let _ = connection.read_to_end();
        count.fetch_add(1, Ordering::Relaxed);
    });
    (backend, left)
}

fn in_flight(mesh: &Mesh) -> u64 {
    mesh.admin().json("/debug/endpoints")["services"][0]["endpoints"][0]["in_flight"].as_u64().unwrap_or_default()
}

#[test]
fn clients_that_give_up_leave_nothing_behind_and_until_then_a_limit_holds() {
    const LIMIT: usize = 20;
    let (backend, left) = silent();
    // The last tenth is for others.
    let mesh = Mesh::with(&["--max-requests=22"], [Service::new("web").endpoint(&backend)]);
    let ask = || -> Vec<Connection> {
        let ask = |_| {
            let mut client = mesh.connect();
            client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
            client
        };
        (0..LIMIT).map(ask).collect()
    };
    for round in 1..=2 {
        let waiting = ask();
        until("all are at the backend", || backend.connections() == LIMIT * round);
        assert_eq!(in_flight(&mesh), LIMIT as u64);
        // One more is told at once.
        let answer = mesh.get("http://web/");
        assert_eq!((answer.status, answer.wasmesh_error()), (503, Some("overload")));
        assert!(answer.text().contains("--max-requests"), "{}", answer.text());
        drop(waiting);
        until("nothing is in flight", || in_flight(&mesh) == 0);
        until("the backend has been left", || left.load(Ordering::Relaxed) == LIMIT * round);
    }
}

#[test]
fn a_stream_that_its_client_gives_up_leaves_nothing_behind() {
    let backend = Http2Backend::with(Http2Options::default().script(|mut call| async move {
        if call.request.uri().path() == "/silent" {
            let _ = poll_fn(|cx| call.respond.poll_reset(cx)).await;
        } else {
            call.answer().await;
        }
    }));
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            waiting.push(client.send(Method::GET, "/silent", HeaderMap::new(), true).await.unwrap());
        }
        until("all are at the backend", || backend.requests() == 20);
        assert_eq!(in_flight(&mesh), 20);
        drop(waiting);
        until("nothing is in flight", || in_flight(&mesh) == 0);
        // The connection is as good as before.
        assert_eq!(client.get("/").await.unwrap().head.status(), 200);
    });
}

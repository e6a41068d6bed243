//! Flow control over HTTP/2: who does not read holds up nobody else, and costs bounded memory.

use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use hyper::{HeaderMap, Method};
use tokio::{task::JoinSet, time::timeout};
use wasmesh_tests::{Http2Backend, Http2Client, Http2Options, Mesh, PATIENCE, Service, runtime, until};

/// How long nothing may move before a stream is taken for stuck. What is concluded from it holds on a slow machine too:
/// being early only makes a count smaller.
const STUCK: Duration = Duration::from_millis(300);

const MEBIBYTE: usize = 1 << 20;

/// One worker, so that all connections to a backend are shared.
fn mesh_of(backend: &Http2Backend) -> Mesh {
    Mesh::with(&["--workers=1"], [Service::new("web").endpoint(backend)])
}

#[test]
fn large_bodies_pass_both_ways_whole() {
    let backend = Http2Backend::start();
    let mesh = mesh_of(&backend);
    let body: Bytes = (0..20 * MEBIBYTE as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let echoed = timeout(PATIENCE, client.post("/echo", body.clone())).await.unwrap().unwrap();
        assert!(echoed.body == body);
    });
}

#[test]
fn readers_that_stop_reading_do_not_stop_others() {
    let backend = Http2Backend::start();
    let mesh = mesh_of(&backend);
    runtime().block_on(async {
        let lazy = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let mut unread = Vec::new();
        for _ in 0..20 {
            let path = format!("/bytes/{}", 8 * MEBIBYTE);
            let (response, _) = lazy.send(Method::GET, &path, HeaderMap::new(), true).await.unwrap();
            unread.push(timeout(PATIENCE, response).await.unwrap().unwrap());
        }
        let diligent = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        for _ in 0..20 {
            let path = format!("/bytes/{MEBIBYTE}");
            let response = timeout(PATIENCE, diligent.get(&path)).await.expect("others are served").unwrap();
            assert_eq!(response.body.len(), MEBIBYTE);
        }
    });
}

/// A backend that reads no bodies where the path is `/unread`, or `/answered`: there its answer has begun.
fn lazy_backend() -> Http2Backend {
    let mut options = Http2Options::default();
    // So that it is not the backend itself who makes one stream wait for another.
    options.settings.initial_connection_window_size(64 << 20);
    Http2Backend::with(options.script(|mut call| async {
        match call.request.uri().path() {
            "/unread" => std::future::pending().await,
            "/answered" => {
                let _more = call.respond.send_response(call.head(), false);
                let () = std::future::pending().await;
            }
            _ => call.answer().await,
        }
    }))
}

/// Sends until nothing is taken any more; tells how much was.
async fn send_until_stuck(stream: &mut h2::SendStream<Bytes>, at_most: usize) -> usize {
    let mut sent = 0;
    while sent < at_most {
        stream.reserve_capacity(16 * 1024);
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx));
        let Ok(Some(Ok(capacity))) = timeout(STUCK, capacity).await else { break };
        stream.send_data(Bytes::from(vec![b'x'; capacity]), false).unwrap();
        sent += capacity;
    }
    sent
}

#[test]
fn uploads_that_nobody_reads_do_not_stop_others_and_are_not_collected() {
    let backend = lazy_backend();
    let mesh = mesh_of(&backend);
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let mut unread = Vec::new();
        for _ in 0..5 {
            let (response, mut stream) = client.send(Method::POST, "/unread", HeaderMap::new(), false).await.unwrap();
            let sent = send_until_stuck(&mut stream, 64 * MEBIBYTE).await;
            assert!(sent < 8 * MEBIBYTE, "{sent} bytes were taken for a backend that reads nothing");
            unread.push((response, stream));
        }
        let body = Bytes::from(vec![b'y'; MEBIBYTE]);
        let echoed = timeout(PATIENCE, client.post("/echo", body.clone())).await.expect("others are served").unwrap();
        assert!(echoed.body == body);
    });
}

#[test]
fn a_response_that_nobody_reads_is_not_collected() {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let backend = Http2Backend::with(Http2Options::default().script(move |mut call| {
        let tell = tell.clone();
        async move {
            let mut stream = call.respond.send_response(call.head(), false).unwrap();
            let _ = tell.send(send_until_stuck(&mut stream, 64 * MEBIBYTE).await);
        }
    }));
    let mesh = mesh_of(&backend);
    let mut told = told;
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let (response, _) = client.send(Method::GET, "/", HeaderMap::new(), true).await.unwrap();
        let _unread = timeout(PATIENCE, response).await.unwrap().unwrap();
        let sent = timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        assert!(sent < 8 * MEBIBYTE, "{sent} bytes were taken for a client that reads nothing");
    });
}

#[test]
fn thousands_of_downloads_that_are_broken_off_do_not_harm_others() {
    let backend = Http2Backend::start();
    let mesh = mesh_of(&backend);
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let (response, _going_on) = client.send(Method::POST, "/echo", HeaderMap::new(), false).await.unwrap();
        let mut going_on = timeout(PATIENCE, response).await.unwrap().unwrap().into_body();
        for _ in 0..100 {
            let mut broken_off = Vec::new();
            for _ in 0..30 {
                let path = format!("/bytes/{}", MEBIBYTE / 4);
                let (response, _) = client.send(Method::GET, &path, HeaderMap::new(), true).await.unwrap();
                broken_off.push(timeout(PATIENCE, response).await.unwrap().unwrap());
            }
        }
        let response = timeout(PATIENCE, client.get("/")).await.unwrap().unwrap();
        assert_eq!(response.head.status(), 200);
        let ended = timeout(Duration::from_millis(10), going_on.data()).await;
        assert!(ended.is_err(), "a call that goes on was ended: {ended:?}");
    });
    assert!(backend.connections() <= 2, "{} connections", backend.connections());
}

#[test]
fn more_than_there_is_room_for_is_not_held_for_those_who_do_not_read() {
    let backend = Http2Backend::start();
    let options = ["--workers=1", "--max-buffered-bytes=1048576"];
    let mesh = Mesh::with(&options, [Service::new("web").endpoint(&backend)]);
    runtime().block_on(async {
        let lazy = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let mut unread = Vec::new();
        // Ten times as many windows as there is room for; each is one, but for what lies in the client.
        for _ in 0..40 {
            let path = format!("/bytes/{}", 8 * MEBIBYTE);
            unread.push(lazy.send(Method::GET, &path, HeaderMap::new(), true).await.unwrap());
        }
        let diligent = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        for _ in 0..20 {
            let path = format!("/bytes/{MEBIBYTE}");
            let response = timeout(PATIENCE, diligent.get(&path)).await.expect("others are served").unwrap();
            assert_eq!(response.body.len(), MEBIBYTE);
        }
        // Four windows are what there is room for.
        wait_for_ends(unread, 30).await;
    });
}

#[test]
fn more_than_there_is_room_for_is_not_held_for_endpoints_that_do_not_read() {
    let backend = lazy_backend();
    let options = ["--workers=1", "--max-buffered-bytes=1048576"];
    let mesh = Mesh::with(&options, [Service::new("web").endpoint(&backend)]);
    runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let mut unread = Vec::new();
        for path in ["/unread", "/answered"].repeat(10) {
            let (response, mut stream) = client.send(Method::POST, path, HeaderMap::new(), false).await.unwrap();
            stream.send_data(Bytes::from(vec![b'x'; MEBIBYTE]), false).unwrap();
            unread.push((response, stream));
        }
        let diligent = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        let body = Bytes::from(vec![b'y'; MEBIBYTE]);
        for _ in 0..5 {
            let echoed =
                timeout(PATIENCE, diligent.post("/echo", body.clone())).await.expect("others are served").unwrap();
            assert!(echoed.body == body);
        }
        // Four windows are what there is room for.
        wait_for_ends(unread, 15).await;
    });
    until("nothing is in flight", || mesh.endpoints("default/web")[0]["in_flight"] == 0);
}

/// Waits until so many of these streams have been ended by the proxy.
async fn wait_for_ends(streams: Vec<(ResponseFuture, h2::SendStream<Bytes>)>, at_least: usize) {
    let (responses, _uploads): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
    let mut ends: JoinSet<_> = responses.into_iter().map(end_of).collect();
    let mut ended = 0;
    while ended < at_least {
        let end =
            timeout(PATIENCE, ends.join_next()).await.unwrap_or_else(|_| panic!("only {ended} streams have ended"));
        ended += usize::from(end.unwrap().unwrap() == Some(h2::Reason::CANCEL));
    }
}

/// How a stream was ended; `None` if its response is whole.
async fn end_of(response: ResponseFuture) -> Option<h2::Reason> {
    match response.await {
        Err(reset) => reset.reason(),
        Ok(response) => drain(response.into_body()).await.err().and_then(|reset| reset.reason()),
    }
}

/// Reads a body to its end.
async fn drain(mut body: h2::RecvStream) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    Ok(())
}

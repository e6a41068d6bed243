//! HTTP/2 with prior knowledge: balanced by request, within the limits of the backend, over restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{
    HeaderMap, Method,
    header::{HeaderName, HeaderValue},
};
use tokio::{task::JoinSet, time::timeout};
use wasmesh_tests::{
    Backend, Http2Backend, Http2Client, Http2Options, Mesh, PATIENCE, Scripted, Service, dead_address, runtime, until,
};

/// Does something with one HTTP/2 connection to `web`.
#[track_caller]
pub(crate) fn with_client<F: Future<Output = ()>>(mesh: &Mesh, work: impl FnOnce(Http2Client) -> F) {
    let done = runtime().block_on(async {
        let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
        timeout(PATIENCE, work(client)).await
    });
    done.expect("it comes to an end");
}

/// GETs a path so often at once on one connection, and tells who answered how often.
pub(crate) async fn at_once(
    client: &Http2Client,
    path: &'static str,
    requests: usize,
) -> BTreeMap<std::net::SocketAddr, usize> {
    let mut asking = JoinSet::new();
    for _ in 0..requests {
        let client = client.clone();
        asking.spawn(async move { client.get(path).await });
    }
    let mut tally = BTreeMap::new();
    while let Some(answer) = asking.join_next().await {
        let response = answer.unwrap().unwrap_or_else(|error| panic!("{error}, after {tally:?}"));
        assert_eq!(response.head.status(), 200, "{response:?}");
        *tally.entry(response.backend()).or_default() += 1;
    }
    tally
}

/// A backend that answers a moment later, so that streams pile up.
fn slow(options: Http2Options) -> Http2Backend {
    Http2Backend::with(options.script(|call| async {
        tokio::time::sleep(Duration::from_millis(2)).await;
        call.answer().await;
    }))
}

#[test]
fn requests_of_one_connection_are_spread_over_all_backends() {
    let backends: [_; 3] = Http2Backend::several();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints(&backends)]);
    with_client(&mesh, |client| async move {
        let tally = at_once(&client, "/", 300).await;
        assert!(tally.len() == 3 && tally.values().all(|count| (95..=105).contains(count)), "{tally:?}");
    });
    assert!(backends.iter().all(|backend| backend.connections() <= 2), "one connection per backend is enough");
}

#[test]
fn the_stream_limit_of_a_backend_is_honoured_with_more_connections() {
    let backend = slow(Http2Options::default().max_streams(5));
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    for round in 0..3 {
        with_client(&mesh, |client| async move {
            assert_eq!(at_once(&client, "/", 200).await.len(), 1, "round {round}");
        });
    }
    assert!(backend.most_on_one_connection() <= 5);
    assert!((2..=60).contains(&backend.connections()), "{} connections", backend.connections());
}

#[test]
fn a_stream_limit_that_is_told_late_is_honoured_too() {
    let late = Http2Options { late: Duration::from_millis(50), ..Http2Options::default() };
    let backend = slow(late.max_streams(5));
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    with_client(&mesh, |client| async move {
        assert_eq!(at_once(&client, "/", 200).await.len(), 1);
    });
    assert!((2..=60).contains(&backend.connections()), "{} connections", backend.connections());
}

#[test]
fn streams_that_never_end_are_not_queued_behind_each_other() {
    for late in [Duration::ZERO, Duration::from_millis(50)] {
        let late = Http2Options { late, ..Http2Options::default() };
        let backend = Http2Backend::with(late.max_streams(5));
        let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
        with_client(&mesh, |client| async move {
            let mut opening = JoinSet::new();
            for _ in 0..40 {
                let client = client.clone();
                opening.spawn(async move {
                    let (response, stream) = client.send(Method::POST, "/echo", HeaderMap::new(), false).await.unwrap();
                    (response.await.unwrap(), stream)
                });
            }
            let open = opening.join_all().await;
            assert!(open.iter().all(|(response, _)| response.status() == 200));
        });
        assert!((8..=20).contains(&backend.connections()), "{} connections", backend.connections());
    }
}

#[test]
fn a_backend_that_allows_one_stream_at_a_time_serves_them_all() {
    let backend = slow(Http2Options::default().max_streams(1));
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    with_client(&mesh, |client| async move {
        at_once(&client, "/", 50).await;
    });
    assert_eq!(backend.most_on_one_connection(), 1);
}

#[test]
fn backends_that_restart_gracefully_under_load_lose_nothing() {
    let backends: [_; 2] = std::array::from_fn(|_| slow(Http2Options::default()));
    let mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    with_client(&mesh, |client| async move {
        for round in 0..20 {
            let load = at_once(&client, "/", 100);
            tokio::pin!(load);
            // In the middle of it.
            let _ = timeout(Duration::from_millis(3), &mut load).await;
            backends[round % 2].go_away();
            load.await;
        }
    });
}

#[test]
fn the_only_backend_may_restart_gracefully_under_posts() {
    let backend = slow(Http2Options::default());
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let restarting = &backend;
    with_client(&mesh, |client| async move {
        for _ in 0..20 {
            let mut asking = JoinSet::new();
            for number in 0..50 {
                let client = client.clone();
                asking.spawn(async move { client.post("/echo", vec![number; 1000]).await });
            }
            let _ = timeout(Duration::from_millis(3), asking.join_next()).await;
            restarting.go_away();
            while let Some(answer) = asking.join_next().await {
                let answer = answer.unwrap().unwrap();
                assert_eq!((answer.head.status().as_u16(), answer.body.len()), (200, 1000), "{answer:?}");
            }
        }
    });
}

#[test]
fn refused_streams_are_sent_again_whatever_they_are() {
    let backend = Http2Backend::with(Http2Options::default().script(|call| async {
        if call.number % 3 == 0 {
            let _ = call.reset(h2::Reason::REFUSED_STREAM.into());
        } else {
            call.answer().await;
        }
    }));
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    with_client(&mesh, |client| async move {
        for _ in 0..50 {
            let response = client.post("/echo", "hello").await.unwrap();
            assert_eq!((response.head.status().as_u16(), &response.body[..]), (200, &b"hello"[..]));
        }
    });
}

#[test]
fn a_backend_that_always_refuses_is_left_for_another_one() {
    let refusing = Http2Backend::with(Http2Options::default().script(|call| async {
        let _ = call.reset(h2::Reason::REFUSED_STREAM.into());
    }));
    let good = Http2Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoints([&refusing, &good])]);
    with_client(&mesh, |client| async move {
        assert_eq!(at_once(&client, "/", 100).await.len(), 1);
    });
}

#[test]
fn a_backends_reset_reaches_the_client_with_its_code() {
    let backend = Http2Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    with_client(&mesh, |client| async move {
        for code in [h2::Reason::INTERNAL_ERROR, h2::Reason::CANCEL, h2::Reason::ENHANCE_YOUR_CALM, 77.into()] {
            let error = client.post(&format!("/reset/{}", u32::from(code)), "x").await.unwrap_err();
            assert_eq!(error.reason(), Some(code), "before the head");
            let (response, mut stream) = client
                .send(Method::POST, &format!("/midway/{}", u32::from(code)), Default::default(), false)
                .await
                .unwrap();
            let mut body = response.await.unwrap().into_body();
            assert_eq!(body.data().await.unwrap().unwrap(), "only this");
            stream.send_data("".into(), true).unwrap();
            let error = body.data().await.unwrap().unwrap_err();
            assert_eq!(error.reason(), Some(code), "after the head");
        }
        assert_eq!(client.get("/").await.unwrap().head.status(), 200, "other streams go on");
    });
}

/// What a backend saw the end of a request's body as.
type Ends = std::sync::mpsc::Receiver<Result<usize, h2::Reason>>;

/// A backend that tells how bodies end, after having answered or not.
fn telling_ends(answers: bool) -> (Http2Backend, Ends) {
    let (tell, ends) = std::sync::mpsc::channel();
    let backend = Http2Backend::with(Http2Options::default().script(move |mut call| {
        let tell = tell.clone();
        async move {
            let head = call.head();
            let _answer = answers.then(|| call.respond.send_response(head, false));
            let end = call.body().await.map(|body| body.len());
            let _ = tell.send(end.map_err(|error| error.reason().unwrap_or(h2::Reason::NO_ERROR)));
        }
    }));
    (backend, ends)
}

#[test]
fn a_client_that_cancels_is_cancelled_at_the_backend() {
    for answers in [false, true] {
        let (backend, ends) = telling_ends(answers);
        let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
        with_client(&mesh, |client| async move {
            let (response, mut stream) = client.send(Method::POST, "/", Default::default(), false).await.unwrap();
            stream.send_data("half".into(), false).unwrap();
            let response = if answers { Some(response.await.unwrap()) } else { None };
            while backend.requests() == 0 {
                tokio::task::yield_now().await;
            }
            stream.send_reset(h2::Reason::CANCEL);
            let end = tokio::task::spawn_blocking(move || ends.recv_timeout(PATIENCE)).await.unwrap();
            assert_eq!(end.expect("the backend is told"), Err(h2::Reason::CANCEL), "answered: {answers}");
            drop(response);
        });
        until("nothing is in flight", || mesh.endpoints("default/web")[0]["in_flight"] == 0);
    }
}

#[test]
fn a_client_whose_connection_breaks_is_cancelled_at_the_backend() {
    let (backend, ends) = telling_ends(false);
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("CONNECT web:80 HTTP/1.1\r\n\r\n").unwrap();
    client.head().unwrap();
    // A preface, settings, and a POST whose body does not end.
    let head = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    client.send([&[0, 0, head.len() as u8, 1, 4, 0, 0, 0, 1], &head[..]].concat()).unwrap();
    until("the request is there", || backend.requests() == 1);
    drop(client);
    assert!(ends.recv_timeout(PATIENCE).expect("the backend is told").is_err());
}

#[test]
fn requests_that_are_taken_back_at_once_reach_no_endpoint_and_who_makes_no_others_is_cut_off() {
    let backend = Http2Backend::start();
    let mesh = Mesh::with(&["--workers=1"], [Service::new("web").endpoint(&backend)]);
    // So that there is a connection for them to go on.
    with_client(&mesh, |client| async move { client.get("/").await.map(drop).unwrap() });
    let mut client = mesh.connect();
    client.send("CONNECT web:80 HTTP/1.1\r\n\r\n").unwrap();
    client.head().unwrap();
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let head = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    let taken_back = |number: u32| {
        let stream = (2 * number + 1).to_be_bytes();
        let headers = [&[0, 0, head.len() as u8, 1, 5][..], &stream, &head].concat();
        [headers, [&[0, 0, 4, 3, 0][..], &stream, &8_u32.to_be_bytes()].concat()].concat()
    };
    // Few enough at once to be read at once; what is read in two pieces may get there.
    let mut many =
        (0..100_000).step_by(50).map(|number| (number..number + 50).flat_map(taken_back).collect::<Vec<_>>());
    assert!(many.any(|many| client.send(many).is_err()), "nobody cuts it off");
    assert!(backend.requests() < 500, "{} requests", backend.requests());
}

#[test]
fn trailers_pass_both_ways() {
    let backend = Http2Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    with_client(&mesh, |client| async move {
        let (response, mut stream) = client.send(Method::POST, "/echo", Default::default(), false).await.unwrap();
        stream.send_data("hello".into(), false).unwrap();
        let checksum = (HeaderName::from_static("checksum"), HeaderValue::from_static("42"));
        stream.send_trailers(HeaderMap::from_iter([checksum])).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            length += data.unwrap().len();
        }
        let trailers = body.trailers().await.unwrap().unwrap();
        assert_eq!((length, &trailers["checksum"]), (5, &HeaderValue::from_static("42")));
    });
}

#[test]
fn dead_endpoints_cost_no_request() {
    // Were most of them dead, all would be tried for ever.
    let good: [_; 4] = Http2Backend::several();
    // Accepts connections and closes them.
    let closing = Scripted::start(drop);
    // Reads what comes first, and then closes.
    let hanging_up = Scripted::start(|mut connection| drop(connection.read_exactly(24)));
    let service =
        Service::new("web").endpoints(&good).endpoint(dead_address()).endpoint(&closing).endpoint(&hanging_up);
    let mesh = Mesh::of([service]);
    with_client(&mesh, |client| async move {
        for _ in 0..40 {
            assert!(at_once(&client, "/", 25).await.values().sum::<usize>() == 25);
        }
    });
    let wasted = closing.connections() + hanging_up.connections();
    assert!(wasted < 30, "endpoints that close connections were tried {wasted} times");
}

#[test]
fn posts_to_an_endpoint_that_closes_before_it_has_said_anything_go_elsewhere() {
    let good: [_; 2] = Http2Backend::several();
    let closing = Scripted::start(drop);
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints(&good).endpoint(&closing)]);
    with_client(&mesh, |client| async move {
        for _ in 0..100 {
            assert_eq!(client.post("/echo", "hello").await.unwrap().body, b"hello");
        }
    });
    assert!((1..20).contains(&closing.connections()), "tried {} times", closing.connections());
}

#[test]
fn many_requests_to_an_endpoint_that_never_answers_wait_once() {
    // A listener whose queue is full drops what comes: to connect to it takes for ever.
    let full = std::net::TcpListener::bind((wasmesh_tests::fresh_ip(), 0)).unwrap();
    rustix::net::listen(&full, 0).unwrap();
    let address = full.local_addr().unwrap();
    let brief = Duration::from_millis(200);
    let _kept: Vec<_> = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, brief).ok()).collect();
    let good = Http2Backend::start();
    let service = Service::new("web").policy("round-robin").endpoint(&good).endpoint(address);
    let mesh = Mesh::with(&["--connect-timeout=1"], [service]);
    let before = std::time::Instant::now();
    with_client(&mesh, |client| async move {
        at_once(&client, "/", 100).await;
    });
    // Fifty of them meet it; one after the other that would be most of a minute.
    assert!(before.elapsed() < Duration::from_secs(10), "{:?}", before.elapsed());
}

#[test]
fn a_request_that_may_have_been_seen_is_not_sent_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&seen);
    // A settings frame; then, once the request is there, a GOAWAY that includes it, and the end.
    let backend = Scripted::start(move |mut connection| {
        let _ = connection.send(b"\0\0\0\x04\0\0\0\0\0");
        let _ = connection.read_exactly(24);
        loop {
            let Ok(header) = connection.read_exactly(9) else { return };
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let _ = connection.read_exactly(length);
            if header[3] == 1 {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = connection.send(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\x02");
                return;
            }
        }
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    with_client(&mesh, |client| async move {
        let answer = client.post("/", "x").await;
        assert!(answer.as_ref().is_ok_and(|answer| answer.header("wasmesh-error") == Some("upstream")), "{answer:?}");
    });
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn a_backend_that_knows_only_http_1_is_not_hidden() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    with_client(&mesh, |client| async move {
        let answer = client.get("/").await;
        assert!(answer.as_ref().is_ok_and(|answer| answer.header("wasmesh-error").is_some()), "{answer:?}");
    });
}

#[test]
fn long_heads_pass_both_ways() {
    let backend = Http2Backend::with(Http2Options::default().script(|mut call| async move {
        let mut head = call.head();
        let long = call.request.headers().get_all("x-long").iter().cloned();
        head.headers_mut().extend(long.map(|value| (HeaderName::from_static("x-long"), value)));
        let _ = call.respond.send_response(head, true);
    }));
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    runtime().block_on(async {
        let mut builder = h2::client::Builder::new();
        let client =
            Http2Client::connect_with(builder.max_header_list_size(1 << 20), mesh.http(), "web:80").await.unwrap();
        for fields in [1, 3, 6] {
            let headers = (0..fields).map(|_| (HeaderName::from_static("x-long"), "y".repeat(8000).parse().unwrap()));
            let sent = client.send(Method::GET, "/", headers.collect(), true).await.unwrap();
            let response = timeout(PATIENCE, sent.0).await.unwrap().unwrap();
            let got = response.headers().get_all("x-long").iter().count();
            assert_eq!((response.status().as_u16(), got), (200, fields), "{fields} fields of 8 kB");
        }
    });
}

#[test]
fn many_clients_share_connections_to_the_backends() {
    let backends: [_; 2] = Http2Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    let answered: BTreeSet<_> = runtime().block_on(async {
        let mut asking = JoinSet::new();
        for _ in 0..20 {
            let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
            asking.spawn(async move { at_once(&client, "/", 20).await });
        }
        asking.join_all().await.into_iter().flat_map(BTreeMap::into_keys).collect()
    });
    assert_eq!(answered.len(), 2);
    // Two workers.
    assert!(backends.iter().all(|backend| backend.connections() <= 2));
}

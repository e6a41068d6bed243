//! The HTTPS server that the API server calls. It knows who is asked what; what is answered is somebody else's.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{body::Room, events};
use crate::connections::{LOOK, Limits, Seat, Seated, Seats};

/// What it speaks, for those who agree on a protocol in their handshake. The API server speaks nothing else with webhooks, so that
/// its questions are spread over replicas.
pub const PROTOCOLS: &[&[u8]] = &[b"http/1.1"];

/// What the port bears.
///
/// An API server keeps 25 connections at rest, and opens more while many pods are made: no more than it serves changes at once,
/// 200 by default. Behind a proxy or an address translation several of them may come from one address, so that is allowed half
/// of all. It is the API server that must give up a resting connection first, after 90 seconds: a question that meets the end of
/// its connection is not asked again.
pub const LIMITS: Limits =
    Limits { total: 1024, per_source: 512, asking: Duration::from_secs(10), idle: Duration::from_secs(120) };

/// How long a handshake may take. The API server waits ten seconds by default, and the shipped configuration has it wait five.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause after a connection could not be accepted: most likely there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// How long after the end has been announced connections are still accepted: until every node has heard that this replica is
/// going, the API server may be led here, and a pod whose question fails is made without the mesh.
pub const LINGER: Duration = Duration::from_secs(5);

/// What is asked: why a pod is a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Its namespace asks for the mesh.
    ForNamespace,
    /// Its own label says something.
    ForPod,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// An AdmissionReview.
    Review(Value),
    /// That the question is none, and why.
    NoQuestion(String),
}

/// Serves until `shutdown` ends and a while longer. Each handshake goes by what `tls` is then.
pub async fn serve<A, F>(
    listener: TcpListener,
    tls: watch::Receiver<Arc<ServerConfig>>,
    limits: Limits,
    answer: A,
    shutdown: impl Future<Output = ()>,
) where
    A: Fn(Asked, Bytes) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Said> + Send + 'static,
{
    let leaving = Arc::new(AtomicBool::new(false));
    let mut end = pin!(async {
        shutdown.await;
        leaving.store(true, Ordering::Relaxed);
        sleep(LINGER).await;
    });
    let (seats, room, open) = (Seats::new("webhook", limits), Room::new(), GracefulShutdown::new());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = looks.tick() => {
                seats.clear();
                continue;
            }
            () = &mut end => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                events::accept_failed(&error);
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some((seat, taken)) = seats.take(from) else { continue };
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow()));
        let (answer, room, watcher, leaving) = (answer.clone(), room.clone(), open.watcher(), Arc::clone(&leaving));
        tokio::spawn(async move {
            let Some(stream) = handshake(acceptor, stream, from, seat, taken).await else { return };
            let seat = Arc::clone(stream.get_ref().0.seat());
            let service = service_fn(move |request| {
                let (leaving, seat, version) = (Arc::clone(&leaving), Arc::clone(&seat), request.version());
                let (answer, room) = (answer.clone(), room.clone());
                async move {
                    let response = respond(answer, &room, from.ip(), &seat, request).await;
                    seat.rests();
                    Ok::<_, Infallible>(last(response, version, &leaving))
                }
            });
            // How long what may take is said by the seat.
            let connection =
                http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
            // How a client ends its connection is its own business.
            let _ = watcher.watch(connection).await;
        });
    }
    let _ = timeout(PATIENCE, open.shutdown()).await;
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    from: SocketAddr,
    seat: Seat,
    taken: oneshot::Receiver<()>,
) -> Option<TlsStream<Seated<TcpStream>>> {
    let seat = Arc::new(seat);
    let done = timeout(PATIENCE, acceptor.accept(Seated::new(stream, Arc::clone(&seat), taken))).await;
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
    match done.unwrap_or_else(late) {
        Ok(stream) => {
            seat.rests();
            Some(stream)
        }
        Err(error) => {
            events::handshake_failed(from, &error.to_string());
            None
        }
    }
}

async fn respond<A, F>(
    answer: A,
    room: &Room,
    from: IpAddr,
    seat: &Seat,
    request: Request<Incoming>,
) -> Response<Full<Bytes>>
where
    A: Fn(Asked, Bytes) -> F,
    F: Future<Output = Said>,
{
    let asked = match request.uri().path() {
        "/inject/namespace" => Asked::ForNamespace,
        "/inject/pod" => Asked::ForPod,
        path => {
            let text = format!("nothing at {path}; there are:\n/inject/namespace\n/inject/pod\n");
            return bad(StatusCode::NOT_FOUND, text);
        }
    };
    if request.method() != Method::POST {
        let mut response = bad(StatusCode::METHOD_NOT_ALLOWED, "expected POST with an AdmissionReview\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let body = match room.read(from, request.into_body()).await {
        Ok(body) => body,
        Err((status, why)) => return bad(status, format!("{why}\n")),
    };
    // A whole question is answered, however many others come.
    if !seat.serve() {
        return bad(StatusCode::SERVICE_UNAVAILABLE, "too many connections\n".to_owned());
    }
    match answer(asked, body.bytes.clone()).await {
        Said::Review(review) => response(StatusCode::OK, "application/json", review.to_string()),
        Said::NoQuestion(why) => bad(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}

/// Who is leaving asks for the next question to be brought to another replica.
fn last(mut response: Response<Full<Bytes>>, version: Version, leaving: &AtomicBool) -> Response<Full<Bytes>> {
    if leaving.load(Ordering::Relaxed) && version == Version::HTTP_11 {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn bad(status: StatusCode, why: String) -> Response<Full<Bytes>> {
    events::bad_request(status.as_u16(), why.trim_end());
    response(status, "text/plain; charset=utf-8", why)
}

fn response(status: StatusCode, content: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content));
    response
}

//! The HTTPS server that the API server calls. It knows who is asked what; what is answered is somebody else's.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Version,
    body::Incoming,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::events;

/// What it speaks, for those who agree on a protocol in their handshake.
pub const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Kubernetes itself takes no object larger than 3 MiB; a review may carry it twice.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// At once; the API server keeps few.
const MAX_CONNECTIONS: usize = 1024;

/// How long a handshake and the body of a request may take each. The API server waits ten seconds by default, and the shipped
/// configuration has it wait five.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a connection of HTTP/1.1, which is what the API server speaks with webhooks, may be idle. It must be the API server
/// that gives up first, after ninety seconds: a question that meets the end of its connection is not asked again.
const IDLE: Duration = Duration::from_secs(120);

/// How often an idle connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

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

/// Serves until `shutdown` ends and a while longer.
pub async fn serve<A, F>(listener: TcpListener, tls: Arc<ServerConfig>, answer: A, shutdown: impl Future<Output = ()>)
where
    A: Fn(Asked, Bytes) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Said> + Send + 'static,
{
    let leaving = Arc::new(AtomicBool::new(false));
    let mut end = pin!(async {
        shutdown.await;
        leaving.store(true, Ordering::Relaxed);
        sleep(LINGER).await;
    });
    let (acceptor, slots, open) =
        (TlsAcceptor::from(tls), Arc::new(Semaphore::new(MAX_CONNECTIONS)), GracefulShutdown::new());
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = &mut end => break,
        };
        let Some((stream, from, slot)) = accepted else { continue };
        let (acceptor, answer, watcher, leaving) =
            (acceptor.clone(), answer.clone(), open.watcher(), Arc::clone(&leaving));
        tokio::spawn(async move {
            match timeout(PATIENCE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let service = service_fn(move |request| {
                        let (leaving, version) = (Arc::clone(&leaving), request.version());
                        let response = respond(answer.clone(), request);
                        async move { response.await.map(|response| last(response, version, &leaving)) }
                    });
                    let builder = builder();
                    let connection =
                        watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
                    // How a client ends its connection is its own business.
                    let _ = connection.await;
                }
                Ok(Err(error)) => events::handshake_failed(from, &error.to_string()),
                Err(_) => events::handshake_failed(from, "it takes too long"),
            }
            drop(slot);
        });
    }
    let _ = timeout(PATIENCE, open.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => Some((stream, from, slot)),
        Err(error) => {
            events::accept_failed(&error);
            sleep(PAUSE).await;
            None
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE).keep_alive_timeout(PATIENCE);
    builder
}

async fn respond<A, F>(answer: A, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible>
where
    A: Fn(Asked, Bytes) -> F,
    F: Future<Output = Said>,
{
    let asked = match request.uri().path() {
        "/inject/namespace" => Asked::ForNamespace,
        "/inject/pod" => Asked::ForPod,
        path => {
            let text = format!("nothing at {path}; there are:\n/inject/namespace\n/inject/pod\n");
            return Ok(bad(StatusCode::NOT_FOUND, text));
        }
    };
    if request.method() != Method::POST {
        let mut response = bad(StatusCode::METHOD_NOT_ALLOWED, "expected POST with an AdmissionReview\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return Ok(response);
    }
    let body = match timeout(PATIENCE, Limited::new(request.into_body(), MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Ok(bad(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {MAX_BODY} bytes\n")));
        }
        Ok(Err(error)) => return Ok(bad(StatusCode::BAD_REQUEST, format!("the request breaks off: {error}\n"))),
        Err(_) => return Ok(bad(StatusCode::REQUEST_TIMEOUT, "the request does not end\n".to_owned())),
    };
    Ok(match answer(asked, body).await {
        Said::Review(review) => response(StatusCode::OK, "application/json", review.to_string()),
        Said::NoQuestion(why) => bad(StatusCode::BAD_REQUEST, format!("{why}\n")),
    })
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

//! Drives one client connection that speaks HTTP.

use std::{net::SocketAddr, rc::Rc, sync::Arc};

use bytes::BytesMut;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{
    activity::Activity,
    answer::{Dialect, ErrorReason, Failure},
    connection::{STRAY_FRAMES, UNSENT_BYTES, windows},
    cork::cork,
    headers::settle_framing,
    outlet::{Gauged, MANY, Outlet},
    response_body::ResponseBody,
    route::{answer, answer_proxy_request},
    takebacks::Takebacks,
    unread::{Inlet, Patient, StreamExecutor},
    version::HttpVersion,
};
use crate::{
    destination::Destination,
    events,
    http1::{Front, serve as serve_plain},
    tcp::{Prefixed, Stream},
    worker::Worker,
};

/// Serves a client that was captured on its way to `destination`; the requests' Host does not matter.
pub async fn serve_captured<IO: Stream>(
    worker: &Rc<Worker>,
    connection: IO,
    destination: Destination,
    version: HttpVersion,
) {
    // What is plain has its own way; the rest of the connection is ours.
    let rest = match version {
        HttpVersion::Http1 => serve_plain(worker, connection, &Front::Captured(destination.clone())).await,
        HttpVersion::Http2 => Some((BytesMut::new(), connection)),
    };
    if let Some((input, connection)) = rest {
        // Apart, so that those who never come here need no room for it.
        Box::pin(serve_whole(worker, Prefixed::new(input, connection), destination, version)).await;
    }
}

async fn serve_whole<IO: Stream>(worker: &Rc<Worker>, connection: IO, destination: Destination, version: HttpVersion) {
    let client = format!("on its way to {destination}");
    let context = Rc::new((Rc::clone(worker), destination, connection.peer()));
    let answer = move |request| {
        let context = Rc::clone(&context);
        async move {
            let (worker, destination, peer) = &*context;
            answer(worker, destination, *peer, request, version).await
        }
    };
    match version {
        HttpVersion::Http1 => serve_http1(worker, connection, &client, answer).await,
        HttpVersion::Http2 => serve_http2(worker, connection, &client, answer).await,
    }
}

/// Serves a client that uses us as its HTTP proxy.
pub async fn serve_proxy_client(worker: &Rc<Worker>, connection: TcpStream, client: SocketAddr) {
    let Some((input, connection)) = serve_plain(worker, connection, &Front::Proxy).await else { return };
    let name = client.to_string();
    let rest = serve_http1(worker, Prefixed::new(input, connection), &name, |request| {
        let worker = Rc::clone(worker);
        async move { answer_proxy_request(&worker, Some(client.ip()), request).await }
    });
    Box::pin(rest).await;
}

async fn serve_http1<IO, A>(worker: &Rc<Worker>, connection: IO, client: &str, answer: impl Fn(Request<Incoming>) -> A)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Future<Output = Result<Response<ResponseBody>, Failure>>,
{
    let activity = Activity::new(&worker.config.drain);
    let outlet = Arc::<Outlet>::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let busy = activity.begin();
        let doubt = settle_framing(request.headers_mut()).err();
        let answer = &answer;
        let answer = move |request| async move {
            match doubt {
                Some(doubt) => Err(Failure::new(ErrorReason::BadRequest, doubt)),
                None => answer(request).await,
            }
        };
        let answering = async move { told(worker, &answer, request, HttpVersion::Http1).await };
        let (activity, outlet) = (&activity, &outlet);
        async move {
            let mut response = answering.await?;
            response.body_mut().go_to(outlet);
            if doubt.is_some() {
                // What follows may be anything.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            if activity.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                // The client takes its next request elsewhere, and none is on its way when the connection closes.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            drop(busy);
            Ok::<_, hyper::Error>(response)
        }
    });
    let serving = http1::Builder::new()
        .auto_date_header(false)
        .preserve_header_case(true)
        .max_header_size(worker.config.limits.header_bytes)
        .max_buf_size(worker.config.limits.header_bytes.max(MANY))
        .timer(TokioTimer::new())
        .header_read_timeout(worker.config.client_idle_timeout)
        .serve_connection(TokioIo::new(Gauged::new(connection, &outlet)), service)
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = activity.quiet_in_drain() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        events::client_connection_failed(client, &error);
    }
}

async fn serve_http2<IO, A>(
    worker: &Rc<Worker>,
    connection: IO,
    client: &str,
    answer: impl Fn(Request<Incoming>) -> A + 'static + Clone,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Future<Output = Result<Response<ResponseBody>, Failure>> + 'static,
{
    let activity = Rc::new(Activity::new(&worker.config.drain));
    let takebacks = Rc::<Takebacks>::default();
    let context = (Rc::clone(worker), Rc::clone(&activity), Rc::clone(&takebacks));
    let service = service_fn(move |request| {
        let ((worker, activity, takebacks), answer) = (context.clone(), answer.clone());
        async move {
            let _busy = activity.begin();
            takebacks.answered(told(&worker, &answer, request, HttpVersion::Http2)).await
        }
    });
    let limits = &worker.config.limits;
    let (stream_window, connection_window) = windows(limits.streams);
    let inlet = Inlet::new(&worker.buffers.requests);
    let (connection, cork) = cork(Patient::new(connection, &inlet));
    let serving = http2::Builder::new(StreamExecutor(inlet))
        .auto_date_header(false)
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .initial_stream_window_size(stream_window)
        .initial_connection_window_size(connection_window)
        // A peer that resets streams faster than they are looked at is cut off (rapid reset, CVE-2023-44487).
        .max_pending_accept_reset_streams(Some(limits.streams as usize))
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(UNSENT_BYTES)
        // Uploads that are broken off are still on their way.
        .max_local_error_reset_streams(STRAY_FRAMES)
        .serve_connection(TokioIo::new(connection), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = cork.pulled_after(serving.as_mut()) => ended,
        // GOAWAY names the last stream that is served, so a connection that is in use need not become quiet first.
        () = activity.used_in_drain() => {
            serving.as_mut().graceful_shutdown();
            cork.pulled_after(serving).await
        }
        () = takebacks.too_many() => return events::client_takes_back(client),
    };
    if let Err(error) = ended {
        events::client_connection_failed(client, &error);
    }
}

/// Turns a failure into an answer that the client understands, or passes an endpoint's reset on as it is.
async fn told<A>(
    worker: &Worker,
    answer: &impl Fn(Request<Incoming>) -> A,
    request: Request<Incoming>,
    version: HttpVersion,
) -> Result<Response<ResponseBody>, hyper::Error>
where
    A: Future<Output = Result<Response<ResponseBody>, Failure>>,
{
    let dialect = Dialect::of(request.headers());
    let failure = match answer(request).await {
        Ok(response) => return Ok(response),
        Err(failure) => failure,
    };
    let failure = match version {
        HttpVersion::Http1 => failure,
        HttpVersion::Http2 => match failure.into_reset() {
            Ok(reset) => return Err(reset),
            Err(failure) => failure,
        },
    };
    let is_news = worker.may_complain(failure.detail());
    events::answered_by_proxy(failure.reason(), failure.detail(), is_news);
    Ok(dialect.answer(&failure))
}

//! Drives one client connection that speaks HTTP/1.1.

use std::{convert::Infallible, net::SocketAddr, rc::Rc};

use hyper::{Method, Request, Response, Uri, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use wasmesh_core::route::Refusal;

use super::{
    answer::ErrorReason,
    forward::{Failure, NEXT_HOP_VERSION, forward, forward_direct},
    headers::{strip_hop_by_hop, strip_proxy_fields, to_origin_form},
    proxy_request::destination_of,
    response_body::ResponseBody,
    upgrade,
};
use crate::{
    destination::Destination,
    events,
    worker::{Routed, Worker},
};

/// Bytes of one request head. More is answered with 431 by the HTTP library.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Serves a client that was captured on its way to `destination`; the requests' Host does not matter.
pub async fn serve_captured<IO>(worker: &Rc<Worker>, connection: IO, destination: Destination)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let destination = Rc::new(destination);
    let client = destination.to_string();
    serve(worker, connection, &client, |request| {
        let (worker, destination) = (Rc::clone(worker), Rc::clone(&destination));
        async move { answer(&worker, &destination, request).await }
    })
    .await;
}

/// Serves a client that uses us as its HTTP proxy.
pub async fn serve_proxy_client(worker: &Rc<Worker>, connection: TcpStream, client: SocketAddr) {
    serve(worker, connection, &client.to_string(), |request| {
        let worker = Rc::clone(worker);
        async move { answer_proxy_request(&worker, request).await }
    })
    .await;
}

async fn serve<IO, A>(worker: &Worker, connection: IO, client: &str, answer: impl Fn(Request<Incoming>) -> A)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Future<Output = Result<Response<ResponseBody>, Failure>>,
{
    let service = service_fn(|request| {
        let answering = answer(request);
        async move {
            Ok::<_, Infallible>(answering.await.unwrap_or_else(|failure| {
                events::answered_by_proxy(failure.reason, &failure.detail);
                failure.reason.answer(&failure.detail)
            }))
        }
    });
    let serving = http1::Builder::new()
        .auto_date_header(false)
        .preserve_header_case(true)
        .half_close(true)
        .max_header_size(MAX_HEAD_BYTES)
        .timer(TokioTimer::new())
        .header_read_timeout(worker.config.client_idle_timeout)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = worker.config.drain.begun() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        events::client_connection_failed(client, &error);
    }
}

async fn answer_proxy_request(
    worker: &Rc<Worker>,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let destination = destination_of(&request)
        .map_err(|error| Failure { reason: ErrorReason::BadRequest, detail: error.to_string() })?;
    strip_proxy_fields(request.headers_mut());
    if request.method() == Method::CONNECT {
        return connect(worker, &destination, request).await;
    }
    let mut uri: Uri = std::mem::take(request.uri_mut());
    let method = request.method().clone();
    to_origin_form(&method, &mut uri, request.headers_mut());
    *request.uri_mut() = uri;
    answer(worker, &destination, request).await
}

/// Routes a request, whose target is in origin-form, and forwards it.
async fn answer(
    worker: &Rc<Worker>,
    destination: &Destination,
    mut request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let client_upgrade = strip_hop_by_hop(request.headers_mut()).map(|_| hyper::upgrade::on(&mut request));
    *request.version_mut() = NEXT_HOP_VERSION;
    let mut response = match worker.route(destination).await {
        Routed::Mesh(cell) => forward(worker, &cell, request).await?,
        Routed::Passthrough(to) => forward_direct(&to, request).await?,
        Routed::Refused(refusal) => return Err(refused(refusal)),
        Routed::NotYet => return Err(not_yet()),
    };
    strip_hop_by_hop(response.headers_mut());
    if let Some(client) = client_upgrade {
        upgrade::join(client, &mut response, worker.config.drain.enter());
    }
    Ok(response)
}

/// A CONNECT is answered when the other end is connected, so that a failure is still an answer.
async fn connect(
    worker: &Rc<Worker>,
    destination: &Destination,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let open = worker.config.drain.enter();
    match worker.route(destination).await {
        Routed::Mesh(cell) => {
            if !upgrade::tunnel_to_cell(worker, &cell, request, open).await {
                let detail = format!("none of {} endpoints could be connected to", cell.len());
                return Err(Failure { reason: ErrorReason::ConnectFailed, detail });
            }
        }
        Routed::Passthrough(to) => upgrade::tunnel_direct(&to, request, open)
            .await
            .map_err(|error| Failure { reason: ErrorReason::PassthroughFailed, detail: format!("{to}: {error}") })?,
        Routed::Refused(refusal) => return Err(refused(refusal)),
        Routed::NotYet => return Err(not_yet()),
    }
    Ok(Response::new(ResponseBody::empty()))
}

fn refused(refusal: Refusal) -> Failure {
    let reason = match refusal {
        Refusal::NoEndpoints => ErrorReason::NoEndpoints,
        Refusal::Loop => ErrorReason::Loop,
    };
    Failure { reason, detail: refusal.to_string() }
}

fn not_yet() -> Failure {
    let detail = "the control plane has not sent the endpoints of this service yet".to_owned();
    Failure { reason: ErrorReason::EndpointsPending, detail }
}

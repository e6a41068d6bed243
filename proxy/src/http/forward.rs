//! Forwards one request: picks an endpoint, gets a connection, sends, and tries elsewhere while nothing is lost by it.

use std::rc::Rc;

use hyper::{
    Request, Response, Version,
    body::{Body, Incoming},
    http::request,
};

use super::{
    answer::ErrorReason, exchange::Exchange, pool::Connection, request_body::RequestBody, response_body::ResponseBody,
};
use crate::{
    clock::now_us,
    destination::Destination,
    tcp::{MAX_ATTEMPTS, connect_direct, connect_endpoint},
    worker::{Cell, Pick, Worker},
};

/// An answer that the proxy has to give itself.
pub(super) struct Failure {
    pub(super) reason: ErrorReason,
    pub(super) detail: String,
}

/// Why an attempt gave no response.
enum Lost {
    /// The endpoint cannot be reached. The request is whole and can go anywhere.
    Unreachable(Request<RequestBody>),
    /// An idle connection turned out to be closed. The request is whole; the endpoint is not to blame.
    Stale(Request<RequestBody>),
    /// The endpoint may have seen the request, and it must not be sent twice.
    Sent(hyper::Error),
}

/// Forwards a request, whose target is in origin-form and whose head is fit to be passed on, to an endpoint of the cell.
pub(super) async fn forward(
    worker: &Worker,
    cell: &Rc<Cell>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let started_us = now_us();
    let key = request_key(&request);
    let mut request = request.map(RequestBody::Streamed);
    let mut tried = Vec::new();
    let mut fresh_only = false;
    while tried.len() < MAX_ATTEMPTS {
        let Some(pick) = cell.pick(key, worker.random(), &tried) else { break };
        match attempt(worker, cell, &pick, request, started_us, fresh_only).await {
            Ok(response) => return Ok(response),
            Err(Lost::Unreachable(whole)) => {
                request = whole;
                tried.push(pick.index);
            }
            Err(Lost::Stale(whole)) => {
                request = whole;
                // Once: a fresh connection cannot be stale.
                fresh_only = true;
            }
            Err(Lost::Sent(error)) => {
                cell.metrics().failed(ErrorReason::Upstream, now_us() - started_us);
                let detail = format!("{} broke the connection before it answered: {error}", pick.slot.endpoint.address);
                return Err(Failure { reason: ErrorReason::Upstream, detail });
            }
        }
    }
    let reason = if tried.is_empty() { ErrorReason::NoEndpoints } else { ErrorReason::ConnectFailed };
    cell.metrics().failed(reason, now_us() - started_us);
    let detail = format!("{} of {} endpoints tried, none could be connected to", tried.len(), cell.len());
    Err(Failure { reason, detail })
}

async fn attempt(
    worker: &Worker,
    cell: &Cell,
    pick: &Pick,
    request: Request<RequestBody>,
    started_us: u64,
    fresh_only: bool,
) -> Result<Response<ResponseBody>, Lost> {
    // In flight from the pick on: whoever picks next sees this one, even while it is still connecting.
    let mut exchange = Exchange::begin(cell, &pick.slot, started_us);
    let idle = if fresh_only { None } else { pick.slot.pool.take() };
    let mut connection = match idle {
        Some(connection) => connection,
        None => match connect(worker, pick).await {
            Some(connection) => connection,
            None => return Err(Lost::Unreachable(request)),
        },
    };
    let reused = connection.is_reused();
    let replay = if reused { Replay::of(&request) } else { None };
    let sent_us = now_us();
    match connection.sender().try_send_request(request).await {
        Ok(response) => {
            exchange.answered(response.status().as_u16(), sent_us, connection);
            Ok(response.map(|body| ResponseBody::Exchanged(body, Some(exchange))))
        }
        Err(mut error) => match (error.take_message(), replay) {
            (Some(unsent), _) if reused => Err(Lost::Stale(unsent)),
            // It accepts connections and closes them: as good as refusing them, and no better when tried again.
            (Some(unsent), _) => Err(Lost::Unreachable(unsent)),
            (None, Some(replay)) => Err(Lost::Stale(replay.into_request())),
            (None, None) => Err(Lost::Sent(error.into_error())),
        },
    }
}

async fn connect(worker: &Worker, pick: &Pick) -> Option<Connection> {
    let stream = connect_endpoint(worker, pick).await.ok()?;
    Connection::open(stream).await.ok()
}

/// A copy of a request that may be sent a second time when a kept connection breaks before it answers.
///
/// The endpoint closes an idle connection and the request meets the close on its way: the sender cannot know whether it
/// was read. Idempotent methods may be repeated (RFC 9110, section 9.2.2), without a body there is nothing to lose.
struct Replay(request::Parts);

impl Replay {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let repeatable = request.method().is_idempotent() && request.body().is_end_stream();
        repeatable.then(|| {
            let (mut head, ()) = Request::new(()).into_parts();
            head.method = request.method().clone();
            head.uri = request.uri().clone();
            head.version = request.version();
            head.headers = request.headers().clone();
            // The case of header names as the client wrote it is in there.
            head.extensions = request.extensions().clone();
            Self(head)
        })
    }

    fn into_request(self) -> Request<RequestBody> {
        Request::from_parts(self.0, RequestBody::Empty)
    }
}

/// Forwards a request to where the client wanted to go, on a connection of its own.
pub(super) async fn forward_direct(
    destination: &Destination,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure {
        reason: ErrorReason::PassthroughFailed,
        detail: format!("{destination}: {error}"),
    };
    let stream = connect_direct(destination).await.map_err(|error| failed(&error))?;
    let mut connection = Connection::open(stream).await.map_err(|error| failed(&error))?;
    let response = connection.sender().send_request(request.map(RequestBody::Streamed)).await;
    Ok(response.map_err(|error| failed(&error))?.map(ResponseBody::Streamed))
}

/// What requests are hashed by until a policy says otherwise: their path, without the query.
fn request_key<B>(request: &Request<B>) -> u64 {
    xxhash_rust::xxh3::xxh3_64(request.uri().path().as_bytes())
}

/// The next hop is a connection of ours: it speaks 1.1 even if the client speaks 1.0.
pub(super) const NEXT_HOP_VERSION: Version = Version::HTTP_11;

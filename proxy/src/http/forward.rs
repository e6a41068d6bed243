//! Forwards one request: picks an endpoint, gets a connection, sends, and tries elsewhere while nothing is lost by it.
//!
//! A request is sent again only when that cannot do harm: no byte of it was written; or the endpoint has said that it has
//! not looked at it; or the connection broke before an answer and the method is idempotent (RFC 9110, section 9.2.2). Its
//! body must still be known in full.

use std::{net::IpAddr, rc::Rc};

use hyper::{
    Request, Response,
    body::Incoming,
    header::EXPECT,
    http::{Extensions, request},
};

use tokio::time::timeout;

use super::{
    answer::{Dialect, ErrorReason, Failure},
    connection::{Http1Connection, Http2Connection, Lease, StreamLease, is_stream_reset, unprocessed},
    exchange::{Exchange, Said},
    expect::continue_gate,
    inflow::Inflow,
    pool::{Http2Turn, OpenFailed},
    request_body::{Replay, RequestBody},
    response_body::ResponseBody,
    trial::{Lost, Trial},
    version::HttpVersion,
};
use crate::{
    clock::now_us,
    destination::Destination,
    health::Verdicts,
    http1::Upstream,
    policy::{
        orca,
        question::{HttpSource, Kind, Question},
        ticket::Ticket,
    },
    tcp::{connect_direct, connect_endpoint},
    worker::{Attempts, Cell, NoMore, Pick, Routed, Worker},
};

/// A request as it is sent in every attempt.
struct Repeatable {
    head: Rc<request::Parts>,
    body: Replay,
    first: Option<RequestBody>,
}

/// Forwards a request, whose target is in origin-form and whose head is fit to be passed on, to an endpoint of the cell.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    destination: &Destination,
    client: Option<IpAddr>,
    cell: Rc<Cell>,
    request: Request<Incoming>,
    version: HttpVersion,
) -> Result<Response<ResponseBody>, Failure> {
    let started_us = now_us();
    let key = request_key(&request);
    let kind = if Dialect::of(request.headers()) == Dialect::Grpc { Kind::Grpc } else { Kind::Http };
    // Only where a policy wants it and may have it.
    let prefix = cell.wasm_policy().and_then(|_| cell.seat().body_prefix());
    let mut request = Repeatable::new(request, worker, worker.config.limits.replay_bytes, prefix.is_some());
    let source = HttpSource::new(Rc::clone(&request.head), client, started_us);
    if let Some(bytes) = prefix {
        source.set_body(request.body.prefix(bytes).await);
    }
    let mut attempts = Attempts::new(worker, destination, &cell, Question { key, source: &source, kind });
    let mut trial = Trial::default();
    let no_more = loop {
        let pick = match attempts.next().await {
            Ok(pick) => pick,
            Err(why) => break why,
        };
        let Some(attempt) = request.next_attempt() else {
            // Chosen and not sent to: nothing to learn from.
            pick.lost(false);
            break NoMore::Exhausted;
        };
        let sending = send(worker, attempts.cell(), pick, attempt, version, started_us, trial.fresh_only());
        let (pick, lost) = match sending.await {
            Ok(response) => {
                request.body.forget();
                return Ok(response);
            }
            Err(lost) => lost,
        };
        if !trial.lost(&mut attempts, &pick, lost, request.head.method.is_idempotent()) {
            break NoMore::Exhausted;
        }
    };
    // The Service has gone while one of its endpoints was being connected to.
    if no_more == NoMore::Exhausted
        && trial.has_reached_nobody()
        && let Routed::Passthrough(to) = worker.route(destination).await
        && let Some(attempt) = request.next_attempt()
    {
        return send_direct(worker, &to, attempt, version).await;
    }
    let failure = trial.failure(no_more, &attempts);
    attempts.cell().metrics().failed(failure.reason(), now_us().saturating_sub(started_us));
    Err(failure)
}

async fn send(
    worker: &Rc<Worker>,
    cell: &Cell,
    pick: Pick,
    request: Request<RequestBody>,
    version: HttpVersion,
    started_us: u64,
    fresh_only: bool,
) -> Result<Response<ResponseBody>, (Pick, Lost)> {
    let lease = match version {
        HttpVersion::Http1 => http1_lease(worker, &pick, fresh_only).await,
        HttpVersion::Http2 => http2_lease(worker, &pick).await,
    };
    let mut lease = match lease {
        Ok(lease) => lease,
        Err(OpenFailed::Unreachable) => return Err((pick, Lost::Unreachable)),
        Err(OpenFailed::NoSocket) => return Err((pick, Lost::NoSocket)),
        Err(OpenFailed::Closed) => return Err((pick, Lost::Closed { reused: false })),
    };
    let upload = request.body().upload();
    let writes = lease.inlet().map(|inlet| inlet.writes());
    let sent_us = now_us();
    pick.ticket().into_iter().for_each(Ticket::sent);
    match lease.send(request).await {
        Ok(response) => {
            let mut exchange = Exchange::begin(cell, pick, Verdicts::of(worker), started_us);
            orca::note(cell.seat(), response.headers(), exchange.load(), now_us);
            exchange.answered(Said::of(response.status().as_u16(), response.headers()), sent_us);
            let response = response.map(|body| Inflow::of_endpoint(body, &lease));
            exchange.hold(lease, upload);
            Ok(response.map(|body| ResponseBody::Exchanged(body, Some(exchange))))
        }
        Err(mut error) => {
            // What was handed to a connection that had been reset meanwhile never left.
            let is_unwritten =
                lease.inlet().zip(writes).is_some_and(|(inlet, writes)| inlet.has_written_nothing_since(writes));
            let unsent = error.take_message().is_some() || is_unwritten;
            let error = error.into_error();
            if unprocessed(&error) {
                return Err((pick, Lost::Unprocessed(error.into())));
            }
            let is_reset = is_stream_reset(&error);
            let reused = lease.is_reused() && !is_reset;
            // An endpoint that accepts connections and closes them is as good as one that refuses them.
            if !reused && (is_reset || lease.is_first_to_note()) {
                Verdicts::of(worker).unreachable(&pick.slot);
            } else if !unsent && lease.was_busy(sent_us) {
                Verdicts::of(worker).failed(&pick.slot);
            }
            Err((pick, if unsent { Lost::Closed { reused } } else { Lost::Broken { error: error.into(), reused } }))
        }
    }
}

async fn http1_lease(worker: &Rc<Worker>, pick: &Pick, fresh_only: bool) -> Result<Lease, OpenFailed> {
    let unreachable = |_: hyper::Error| OpenFailed::Unreachable;
    let idle = if fresh_only { None } else { pick.slot.pool.take_http1() };
    let connection = match idle {
        Some(connection) => connection,
        // One that has been left by a plain request is as good.
        None => match (!fresh_only).then(|| pick.slot.pool.take_plain()).flatten().map(Upstream::into_parts) {
            Some((stream, answered_us)) => {
                let connection = Http1Connection::open(stream).await.map_err(unreachable)?;
                match answered_us {
                    Some(answered_us) => connection.into_reused(answered_us),
                    None => connection,
                }
            }
            None => Http1Connection::open(connect_endpoint(worker, pick).await?).await.map_err(unreachable)?,
        },
    };
    Ok(Lease::Http1(connection))
}

async fn http2_lease(worker: &Rc<Worker>, pick: &Pick) -> Result<Lease, OpenFailed> {
    loop {
        match pick.slot.pool.http2_turn() {
            Http2Turn::Stream(lease) => return Ok(Lease::Http2(lease)),
            Http2Turn::Wait(opened) => {
                let (before, _) = pick.slot.pool.http2_failures();
                // One thread: nobody can have told between the look and this wait.
                opened.notified().await;
                let (now, how) = pick.slot.pool.http2_failures();
                if now != before {
                    return Err(how);
                }
            }
            Http2Turn::Open(opening) => {
                let lease = open_http2(worker, pick).await;
                if let Err(how) = lease {
                    opening.failed(how);
                }
                return lease.map(Lease::Http2);
            }
        }
    }
}

/// Opens a connection and waits for the endpoint's settings: before, it may be one that accepts connections and closes
/// them, and what it was sent could not be sent again; and how many streams may share the connection is not known.
async fn open_http2(worker: &Rc<Worker>, pick: &Pick) -> Result<StreamLease, OpenFailed> {
    let stream = connect_endpoint(worker, pick).await?;
    let connection = Http2Connection::open(stream, &worker.buffers.responses).await.map_err(|_| OpenFailed::Closed)?;
    // One that is only slow is not given up for it.
    let _ = timeout(worker.config.connect_timeout, connection.limit_told()).await;
    // Nothing may reach an endpoint any more once its removal has been acknowledged.
    if pick.slot.load.is_withdrawn() {
        return Err(OpenFailed::Unreachable);
    }
    // One that has said its settings is alive, and closes in a restart or for having been idle.
    if connection.is_closed() && !connection.is_limit_told() {
        Verdicts::of(worker).unreachable(&pick.slot);
    }
    let lease = connection.lease().ok_or(OpenFailed::Closed)?;
    pick.slot.pool.add_http2(connection);
    Ok(lease)
}

impl Repeatable {
    /// With `read_ahead` the body is read before the request is sent, so a client that waits to be told to go on is told by
    /// us, and nobody else need.
    fn new(request: Request<Incoming>, worker: &Worker, replay_bytes: usize, read_ahead: bool) -> Self {
        let (mut head, body) = request.into_parts();
        if read_ahead {
            head.headers.remove(EXPECT);
        }
        let gate = continue_gate(&mut head);
        let (first, body) = RequestBody::new(body, gate, replay_bytes, &worker.buffers);
        Self { head: Rc::new(head), body, first: Some(first) }
    }

    /// The request for one more attempt; `None` if its body cannot be had again.
    fn next_attempt(&mut self) -> Option<Request<RequestBody>> {
        let body = self.first.take().or_else(|| self.body.again())?;
        Some(Request::from_parts(copy_of(&self.head), body))
    }
}

fn copy_of(head: &request::Parts) -> request::Parts {
    let (mut copy, ()) = Request::new(()).into_parts();
    copy.method = head.method.clone();
    copy.uri = head.uri.clone();
    copy.version = head.version;
    copy.headers = head.headers.clone();
    // The case of header names as the client wrote it is in there.
    copy.extensions = Extensions::clone(&head.extensions);
    copy
}

/// Forwards a request to where the client wanted to go, on a connection of its own.
pub(super) async fn forward_direct(
    worker: &Worker,
    destination: &Destination,
    request: Request<Incoming>,
    version: HttpVersion,
) -> Result<Response<ResponseBody>, Failure> {
    let attempt = Repeatable::new(request, worker, 0, false).next_attempt();
    let attempt = attempt.ok_or_else(|| passthrough_failed(destination, &"the request cannot be sent"))?;
    send_direct(worker, destination, attempt, version).await
}

fn passthrough_failed(destination: &Destination, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorReason::PassthroughFailed, format!("{destination}: {error}"))
}

async fn send_direct(
    worker: &Worker,
    destination: &Destination,
    attempt: Request<RequestBody>,
    version: HttpVersion,
) -> Result<Response<ResponseBody>, Failure> {
    let failed = |error: &dyn std::fmt::Display| passthrough_failed(destination, error);
    let stream = connect_direct(worker, destination).await.map_err(|error| failed(&error))?;
    let lease = match version {
        HttpVersion::Http1 => Http1Connection::open(stream).await.map(|connection| Some(Lease::Http1(connection))),
        HttpVersion::Http2 => Http2Connection::open(stream, &worker.buffers.responses)
            .await
            .map(|connection| connection.lease().map(Lease::Http2)),
    };
    let mut lease = lease.map_err(|error| failed(&error))?.ok_or_else(|| failed(&"it allows no stream"))?;
    match lease.send(attempt).await {
        Ok(response) => Ok(response.map(|body| ResponseBody::Direct(Inflow::of_endpoint(body, &lease), lease))),
        Err(error) => Err(failed(&error.into_error())),
    }
}

/// What requests are hashed by until a policy says otherwise: their path, without the query.
fn request_key<B>(request: &Request<B>) -> u64 {
    xxhash_rust::xxh3::xxh3_64(request.uri().path().as_bytes())
}

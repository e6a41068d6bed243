//! Sends a plain request to an endpoint, and tries elsewhere while nothing is lost by it: by the same rules as
//! [`crate::http`].

use std::{net::IpAddr, rc::Rc};

use super::{
    answer::{self, Head, Read},
    request::Plain,
    upstream::Upstream,
};
use crate::{
    clock::now_us,
    destination::Destination,
    health::Verdicts,
    http::{Cause, Exchange, Failure, Lost, Said, Trial},
    policy::{
        orca,
        question::{Head as _, HttpSource, Kind, Question},
        ticket::Ticket,
    },
    tcp::{ConnectError, connect_endpoint},
    worker::{Attempts, Cell, NoMore, Pick, Worker},
};

/// The longest head of an answer.
pub const MAX_HEAD_BYTES: usize = 400 * 1024;

/// An answer whose head is here.
pub(super) struct Answered {
    pub(super) exchange: Exchange,
    pub(super) upstream: Upstream,
    pub(super) head: Head,
    /// The client's connection ends with it.
    pub(super) ends: bool,
    /// The head as the client gets it.
    pub(super) out: Vec<u8>,
    /// What came after it.
    pub(super) rest: Vec<u8>,
}

/// Nobody has answered, which is not counted yet.
pub(super) struct Unanswered {
    pub(super) failure: Failure,
    /// When it was begun, if it was.
    pub(super) started_us: Option<u64>,
}

/// Forwards a request to an endpoint of the cell. Whether the client's connection `ends` with the answer is asked when that comes: the
/// proxy may want to end meanwhile.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    destination: &Destination,
    client: Option<IpAddr>,
    cell: &Rc<Cell>,
    request: &Rc<Plain>,
    ends: impl Fn() -> bool,
) -> Result<Answered, Unanswered> {
    let started_us = now_us();
    let key = xxhash_rust::xxh3::xxh3_64(request.path());
    let source = HttpSource::new(Rc::clone(request), client, started_us);
    if cell.wasm_policy().and_then(|_| cell.seat().body_prefix()).is_some() {
        source.set_body(request.body().to_vec().into());
    }
    let mut attempts = Attempts::new(worker, destination, cell, Question { key, source: &source, kind: Kind::Http });
    let mut trial = Trial::default();
    let no_more = loop {
        let pick = match attempts.next().await {
            Ok(pick) => pick,
            Err(why) => break why,
        };
        let sending = send(worker, attempts.cell(), pick, request, started_us, trial.fresh_only(), &ends);
        let (pick, lost) = match sending.await {
            Ok(answered) => return Ok(answered),
            Err(lost) => lost,
        };
        if !trial.lost(&mut attempts, &pick, lost, request.is_idempotent) {
            break NoMore::Exhausted;
        }
    };
    Err(Unanswered { failure: trial.failure(no_more, &attempts), started_us: Some(started_us) })
}

async fn send(
    worker: &Rc<Worker>,
    cell: &Cell,
    pick: Pick,
    request: &Plain,
    started_us: u64,
    fresh_only: bool,
    ends: &impl Fn() -> bool,
) -> Result<Answered, (Pick, Lost)> {
    let idle = if fresh_only { None } else { pick.slot.pool.take_plain() };
    let mut upstream = match idle {
        Some(upstream) => upstream,
        None => {
            // An endpoint that serves one connection after the other would wait for the end of that which it has.
            drop(pick.slot.pool.take_http1());
            match connect_endpoint(worker, &pick).await {
                Ok(stream) => Upstream::new(stream),
                Err(ConnectError::NoSocket) => return Err((pick, Lost::NoSocket)),
                Err(_) => return Err((pick, Lost::Unreachable)),
            }
        }
    };
    let sent_us = now_us();
    pick.ticket().into_iter().for_each(Ticket::sent);
    let reused = upstream.is_reused();
    let mut rest = Vec::new();
    let sent = upstream.send(&request.message, &mut rest).await;
    let lost = match sent {
        Err((false, _)) => Lost::Closed { reused },
        sent => match read_head(&mut upstream, request.is_head, ends, &mut rest, cell, &pick).await {
            Ok((mut head, said, ends, out)) => {
                // One that has not read the whole request is not asked again.
                head.keeps &= sent.is_ok();
                let mut exchange = Exchange::begin(cell, pick, Verdicts::of(worker), started_us);
                exchange.answered(said, sent_us);
                return Ok(Answered { exchange, upstream, head, ends, out, rest });
            }
            Err(error) => Lost::Broken { error: sent.err().map_or(error, |(_, error)| error.into()), reused },
        },
    };
    // An endpoint that accepts connections and closes them is as good as one that refuses them.
    if !reused {
        Verdicts::of(worker).unreachable(&pick.slot);
    } else if matches!(lost, Lost::Broken { .. }) && upstream.was_busy(sent_us) {
        Verdicts::of(worker).failed(&pick.slot);
    }
    Err((pick, lost))
}

async fn read_head(
    upstream: &mut Upstream,
    to_head: bool,
    ends: impl Fn() -> bool,
    rest: &mut Vec<u8>,
    cell: &Cell,
    pick: &Pick,
) -> Result<(Head, Said, bool, Vec<u8>), Cause> {
    let mut out = Vec::new();
    loop {
        let (ends, mut said) = (ends(), None);
        let read = answer::read(rest, to_head, ends, &mut out, |status, fields| {
            orca::note(cell.seat(), fields, &pick.slot.load, now_us);
            said = Some(Said::of(status, fields));
        });
        match (read, said) {
            (Read::Head(head, length), Some(said)) => {
                rest.drain(..length);
                return Ok((head, said, ends, out));
            }
            (Read::Interim(length), _) => {
                rest.drain(..length);
            }
            (Read::Partial, _) if rest.len() < MAX_HEAD_BYTES => {
                if upstream.read(rest).await? == 0 {
                    return Err(Cause::Closed);
                }
            }
            _ => return Err(Cause::NoHttp),
        }
    }
}

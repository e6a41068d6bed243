//! Finds out what a connection speaks, without making anybody wait who would not wait without us.
//!
//! The client's first bytes decide. A client that is silent may be waiting for the server to speak, so after a few
//! milliseconds an endpoint is dialled, and whoever speaks first settles it. What is learned from that makes the next
//! dial immediate; it never decides what a connection speaks.

use std::{io, rc::Rc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Stream, attempts,
    connect::{Dialled, dial_another, is_new},
    dial,
    sniff::{Greeting, Sniffed, greeting, sniff},
};
use crate::{
    destination::Destination,
    events,
    http::HttpVersion,
    policy::question::ConnectionSource,
    worker::{Cell, NoMore, Worker},
};

/// How long a client may be silent before an endpoint is dialled.
const SILENCE: Duration = Duration::from_millis(10);

/// How long a client that has begun what may become a request line may pause in it.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a client may be silent once the proxy wants to end.
const SILENCE_IN_DRAIN: Duration = Duration::from_secs(1);

/// First bytes are read into a buffer of this size.
const FIRST_BYTES: usize = 4096;

/// What is known of a connection.
pub(super) struct Detected {
    /// What is spoken; `None`: opaque bytes.
    pub(super) http: Option<HttpVersion>,
    /// What the client has said.
    pub(super) first: BytesMut,
    /// The endpoint that was dialled meanwhile.
    pub(super) dialled: Option<Dialled>,
}

impl Detected {
    /// The same, to be carried and not looked into.
    pub(super) fn opaque(self) -> Self {
        Self { http: None, ..self }
    }
}

/// Why it could not be found out.
pub(super) enum DetectError {
    /// The client's connection broke.
    Client,
    /// The endpoint's connection broke, and there is to be no other.
    Endpoint,
    /// No endpoint could be reached, or the policy says no; and what the client has said.
    NoEndpoint(NoMore, BytesMut),
}

impl From<io::Error> for DetectError {
    fn from(_: io::Error) -> Self {
        Self::Client
    }
}

/// Finds out what the client of a connection to `cell` speaks.
pub(super) async fn detect(
    worker: &Rc<Worker>,
    destination: &Destination,
    cell: &Rc<Cell>,
    client: &mut impl Stream,
) -> Result<Detected, DetectError> {
    let mut first = BytesMut::with_capacity(FIRST_BYTES);
    let mut patience = if cell.server_speaks_first() { Duration::ZERO } else { SILENCE };
    while let Ok(read) = timeout(patience, client.read_buf(&mut first)).await {
        let ended = read? == 0;
        match sniff(&first) {
            Sniffed::NeedMore if ended => return Ok(Detected { http: None, first, dialled: None }),
            Sniffed::NeedMore => patience = PAUSE,
            decided => return Ok(Detected { http: decided.http(), first, dialled: None }),
        }
    }
    let source = ConnectionSource { client: client.peer(), ..ConnectionSource::default() };
    let attempts = || attempts(worker, destination, cell, &source);
    let mut dialled = dial(worker, attempts()).await;
    // A client that pauses in the middle of a word is not waiting for a greeting.
    let is_pausing = !first.is_empty();
    loop {
        let mut connection = match dialled {
            Ok(connection) => connection,
            Err(why) => return Err(DetectError::NoEndpoint(why, first)),
        };
        if is_pausing {
            return Ok(Detected { http: None, first, dialled: Some(connection) });
        }
        match whoever_speaks(cell, client, &mut first, &mut connection).await? {
            Spoken::Known(http) => return Ok(Detected { http, first, dialled: Some(connection) }),
            Spoken::Broken(why) if connection.first.is_empty() && is_new(worker, connection.since) => {
                dialled = dial_another(worker, attempts().after(connection.past), connection.pick, why).await;
            }
            Spoken::Broken(why) => {
                tracing::debug!("a connection broke before it was known what is spoken: {why}");
                if is_new(worker, connection.since) {
                    connection.pick.lost(true);
                } else {
                    connection.pick.streamed();
                }
                return Err(DetectError::Endpoint);
            }
        }
    }
}

/// Finds out what the client of a port speaks whose clients speak first. Waits for as long as a request head may take, or for
/// the end of the proxy.
pub(super) async fn await_client(
    worker: &Worker,
    client: &mut (impl AsyncRead + Unpin),
) -> Result<Detected, DetectError> {
    let mut first = BytesMut::with_capacity(FIRST_BYTES);
    let until = Instant::now() + worker.config.client_idle_timeout;
    loop {
        let read = tokio::select! {
            read = client.read_buf(&mut first) => read?,
            () = worker.config.drain.begun_and(SILENCE_IN_DRAIN) => return Err(DetectError::Client),
            () = sleep_until(until) => {
                events::client_silent();
                return Err(DetectError::Client);
            }
        };
        match sniff(&first) {
            Sniffed::NeedMore if read == 0 => return Ok(Detected { http: None, first, dialled: None }),
            Sniffed::NeedMore => {}
            decided => return Ok(Detected { http: decided.http(), first, dialled: None }),
        }
    }
}

/// What came of waiting for whoever speaks.
enum Spoken {
    /// What is spoken; `None`: opaque bytes.
    Known(Option<HttpVersion>),
    /// The endpoint's connection broke.
    Broken(io::Error),
}

/// Waits for either side.
async fn whoever_speaks(
    cell: &Cell,
    client: &mut (impl AsyncRead + Unpin),
    first: &mut BytesMut,
    dialled: &mut Dialled,
) -> io::Result<Spoken> {
    let mut greeted = false;
    loop {
        tokio::select! {
            read = client.read_buf(first) => {
                let ended = read? == 0;
                match sniff(first) {
                    Sniffed::NeedMore if ended => return Ok(Spoken::Known(None)),
                    Sniffed::NeedMore => {}
                    decided => return Ok(Spoken::Known(decided.http())),
                }
            }
            read = dialled.stream.read_buf(&mut dialled.first), if !greeted => {
                match read {
                    // Forwarding passes that on.
                    Ok(0) => return Ok(Spoken::Known(None)),
                    Ok(_) => {}
                    // It is told only once: whoever reads on would take it for an orderly end.
                    Err(why) => return Ok(Spoken::Broken(why)),
                }
                match greeting(&dialled.first) {
                    Greeting::NeedMore => {}
                    // gRPC servers send their settings at accept; the client's preface will come.
                    Greeting::Http2Settings => {
                        cell.learn_that_server_speaks_first();
                        greeted = true;
                    }
                    // Such as 408 to a client that is late with its request: that is no greeting.
                    Greeting::Http1 => return Ok(Spoken::Known(None)),
                    Greeting::Other => {
                        cell.learn_that_server_speaks_first();
                        return Ok(Spoken::Known(None));
                    }
                }
            }
        }
    }
}

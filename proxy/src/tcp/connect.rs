//! Connections to endpoints, and to where clients wanted to go by themselves.

use std::{io, rc::Rc, time::Duration};

use bytes::BytesMut;
use rustix::io::Errno;
use tokio::{
    net::TcpStream,
    time::{Instant, error::Elapsed, sleep, timeout},
};

use super::stream::prepare;
use crate::{
    destination::Destination,
    events,
    health::Verdicts,
    policy::question::{ConnectionSource, Kind, Question},
    worker::{Attempts, Cell, NoMore, Past, Pick, Worker},
};

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system says why.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The system had no socket for it, which says nothing of the endpoint.
    #[error("no socket could be had in time: raise the limit of open files")]
    NoSocket,
    /// Nobody answered.
    #[error("no answer in time")]
    Timeout(#[from] Elapsed),
    /// The endpoint was taken away while it was being connected to; it is not to blame.
    #[error("the endpoint has been taken away meanwhile")]
    Withdrawn,
}

/// How long to wait for a socket where there is none: some connection or other will end.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection to an endpoint, and what came from it already.
pub struct Dialled {
    /// The endpoint, of which it is load.
    pub pick: Pick,
    /// The connection.
    pub stream: TcpStream,
    /// What the endpoint has said.
    pub first: BytesMut,
    /// Since when it is there.
    pub since: Instant,
    /// What was tried to come by it.
    pub past: Past,
}

/// Whether a connection that breaks now was never made. One that has been idle may have been ended on purpose.
pub(super) fn is_new(worker: &Worker, since: Instant) -> bool {
    since.elapsed() < worker.config.connect_timeout
}

/// Connects to an endpoint, and takes note of it when that fails.
///
/// # Errors
/// When it refuses, is unreachable, does not answer within the proxy's connect timeout, or is taken away meanwhile; or when no
/// socket could be had for so long.
pub async fn connect_endpoint(worker: &Rc<Worker>, pick: &Pick) -> Result<TcpStream, ConnectError> {
    let address = pick.slot.endpoint.address;
    let patience = worker.config.connect_timeout;
    let begun = Instant::now();
    let error = loop {
        // Each with a timeout of its own: how long we had no socket for is not the endpoint's doing.
        match timeout(patience, TcpStream::connect(address)).await {
            // Nothing may reach an endpoint any more once its removal has been acknowledged.
            Ok(Ok(_)) if pick.slot.load.is_withdrawn() => return Err(ConnectError::Withdrawn),
            Ok(Ok(connection)) => {
                prepare(&connection);
                return Ok(connection);
            }
            Ok(Err(error)) if is_shortage(&error) => {
                events::no_socket(&error);
                worker.close_idle();
                if begun.elapsed() >= patience {
                    return Err(ConnectError::NoSocket);
                }
                sleep(PAUSE).await;
            }
            Ok(Err(error)) => break ConnectError::from(error),
            Err(elapsed) => break ConnectError::from(elapsed),
        }
    };
    events::connect_failed(address, &error);
    Verdicts::of(worker).unreachable(&pick.slot);
    Err(error)
}

/// Whether it is us who lack something.
fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Attempts at an endpoint for a connection that is not looked into.
pub fn attempts<'a>(
    worker: &'a Rc<Worker>,
    destination: &'a Destination,
    cell: &Rc<Cell>,
    source: &'a ConnectionSource,
) -> Attempts<'a> {
    let kind = if source.is_tls { Kind::Tls } else { Kind::Tcp };
    // The built-in policies hash connections by nothing: any endpoint is as good.
    let question = Question { key: worker.random(), source, kind };
    Attempts::new(worker, destination, cell, question)
}

/// Connects to some endpoint, trying others while connections fail.
///
/// # Errors
/// When none of them could be reached, or the policy says no.
pub async fn dial(worker: &Rc<Worker>, mut attempts: Attempts<'_>) -> Result<Dialled, NoMore> {
    loop {
        let pick = attempts.next().await?;
        match connect_endpoint(worker, &pick).await {
            Ok(stream) => {
                Verdicts::of(worker).succeeded(&pick.slot);
                pick.ticket().into_iter().for_each(|ticket| ticket.answered(0));
                let (since, past) = (Instant::now(), attempts.into_past());
                return Ok(Dialled { pick, stream, first: BytesMut::new(), since, past });
            }
            // There is none for another endpoint either.
            Err(ConnectError::NoSocket) => {
                pick.lost(false);
                return Err(NoMore::Exhausted);
            }
            Err(_) => {
                pick.lost(true);
                attempts.unconnected(&pick);
            }
        }
    }
}

/// Connects to another endpoint than one that has broken its connection before anything had passed: its system may accept what the
/// endpoint, which is dying, never gets.
///
/// # Errors
/// As [`dial`].
pub(super) async fn dial_another(
    worker: &Rc<Worker>,
    mut attempts: Attempts<'_>,
    broken: Pick,
    why: io::Error,
) -> Result<Dialled, NoMore> {
    events::connect_failed(broken.slot.endpoint.address, &why.into());
    Verdicts::of(worker).unreachable(&broken.slot);
    broken.lost(true);
    attempts.unconnected(&broken);
    // It is no load any more, and its policy knows before it is asked again.
    drop(broken);
    dial(worker, attempts).await
}

/// Connects to where the client wanted to go, without a timeout of ours: what it would get without the mesh, it gets. Where
/// that led is noted.
///
/// # Errors
/// When the system cannot connect or resolve the name.
pub async fn connect_direct(worker: &Worker, destination: &Destination) -> io::Result<TcpStream> {
    let connection = match destination {
        Destination::Address(address) => with_socket(|| TcpStream::connect(*address)).await?,
        Destination::Name(host, port) => with_socket(|| TcpStream::connect((host.as_str(), *port))).await?,
    };
    prepare(&connection);
    // A name may have led to a pod as well. A connection that is gone already has no peer, and nobody will miss it.
    connection.peer_addr().into_iter().for_each(|address| worker.config.sightings.note(address));
    Ok(connection)
}

/// Connects as soon as there is a socket to connect with. Whoever has no patience for that gives up by itself.
async fn with_socket<F: Future<Output = io::Result<TcpStream>>>(connect: impl Fn() -> F) -> io::Result<TcpStream> {
    loop {
        match connect().await {
            Err(error) if is_shortage(&error) => {
                events::no_socket(&error);
                sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}

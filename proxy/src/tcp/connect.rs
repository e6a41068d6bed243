//! Connections to endpoints, and to where clients wanted to go by themselves.

use std::{io, rc::Rc};

use tokio::{
    net::TcpStream,
    time::{error::Elapsed, timeout},
};

use crate::{
    destination::Destination,
    events,
    health::Verdicts,
    worker::{Cell, Pick, Worker},
};

/// How many endpoints one request or connection is tried on. With more than this many dead ones the rest is for
/// ejection to mend, not for one unlucky client to find out.
pub(crate) const MAX_ATTEMPTS: usize = 5;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system says why.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nobody answered.
    #[error("no answer in time")]
    Timeout(#[from] Elapsed),
}

/// Connects to an endpoint.
///
/// # Errors
/// When it refuses, is unreachable or does not answer within the proxy's connect timeout.
pub async fn connect_endpoint(worker: &Worker, pick: &Pick) -> Result<TcpStream, ConnectError> {
    let address = pick.slot.endpoint.address;
    let connecting = timeout(worker.config.connect_timeout, TcpStream::connect(address)).await;
    let connected = connecting.map_err(ConnectError::from).and_then(|connected| connected.map_err(ConnectError::from));
    match connected {
        Ok(connection) => {
            // It fails only on a connection that is already gone.
            let _ = connection.set_nodelay(true);
            Ok(connection)
        }
        Err(error) => {
            events::connect_failed(address, &error);
            Err(error)
        }
    }
}

/// Connects to some endpoint of a cell, trying others while connections fail. `None` when none of them could be reached.
pub async fn connect_any(worker: &Rc<Worker>, destination: &Destination, cell: &Rc<Cell>) -> Option<(Pick, TcpStream)> {
    let verdicts = Verdicts::of(worker);
    let mut cell = Rc::clone(cell);
    let mut tried = Vec::new();
    for _ in 0..MAX_ATTEMPTS {
        // Until a policy object says by what, connections are hashed by nothing: any endpoint is as good.
        let Some(pick) = cell.pick(worker.random(), worker.random(), &tried) else {
            (cell, tried) = (worker.successor(destination, &cell).await?, Vec::new());
            continue;
        };
        match connect_endpoint(worker, &pick).await {
            Ok(connection) => {
                verdicts.succeeded(&pick.slot);
                return Some((pick, connection));
            }
            Err(_) => verdicts.failed(&pick.slot),
        }
        tried.push(pick.index);
    }
    None
}

/// Connects to where the client wanted to go, without a timeout of ours: what it would get without the mesh, it gets.
///
/// # Errors
/// When the system cannot connect or resolve the name.
pub async fn connect_direct(destination: &Destination) -> io::Result<TcpStream> {
    let connection = match destination {
        Destination::Address(address) => TcpStream::connect(address).await?,
        Destination::Name(host, port) => TcpStream::connect((host.as_str(), *port)).await?,
    };
    // It fails only on a connection that is already gone.
    let _ = connection.set_nodelay(true);
    Ok(connection)
}

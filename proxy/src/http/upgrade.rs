//! Connections that stop being HTTP: WebSocket and other upgrades, and CONNECT.

use std::rc::Rc;

use hyper::{Request, Response, StatusCode, body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use super::response_body::ResponseBody;
use crate::{
    destination::Destination,
    drain::OpenConnection,
    events,
    tcp::{connect_any, connect_direct, relay, tunnel},
    worker::{Cell, Worker},
};

/// Joins client and endpoint once the endpoint has agreed to switch; until then it is a response like any other.
pub(super) fn join(client: OnUpgrade, response: &mut Response<ResponseBody>, open: OpenConnection) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let endpoint = hyper::upgrade::on(response);
    tokio::task::spawn_local(async move {
        // Either side may go away in the middle of the handshake; then there is nothing to join.
        if let (Ok(client), Ok(endpoint)) = (client.await, endpoint.await) {
            let _ = relay(&mut TokioIo::new(client), &mut TokioIo::new(endpoint)).await;
        }
        drop(open);
    });
}

/// Connects a CONNECT's client to an endpoint of the cell. `false` if no endpoint could be reached.
pub(super) async fn tunnel_to_cell(
    worker: &Rc<Worker>,
    cell: &Rc<Cell>,
    request: Request<Incoming>,
    open: OpenConnection,
) -> bool {
    let Some((pick, backend)) = connect_any(worker, cell, worker.random()).await else { return false };
    let cell = Rc::clone(cell);
    tokio::task::spawn_local(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            tunnel(&cell, &pick.slot, TokioIo::new(client), backend).await;
        }
        drop(open);
    });
    true
}

/// Connects a CONNECT's client to a host that is not the mesh's.
///
/// # Errors
/// When the host cannot be reached.
pub(super) async fn tunnel_direct(
    destination: &Destination,
    request: Request<Incoming>,
    open: OpenConnection,
) -> std::io::Result<()> {
    let mut backend = connect_direct(destination).await?;
    tokio::task::spawn_local(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            events::passed_through(relay(&mut TokioIo::new(client), &mut backend).await);
        }
        drop(open);
    });
    Ok(())
}

//! Connections that stop being HTTP: WebSocket and other upgrades, and CONNECT.

use std::rc::Rc;

use bytes::BytesMut;
use hyper::{Request, Response, StatusCode, body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use super::{exchange::Exchange, response_body::ResponseBody};
use crate::{
    destination::Destination,
    drain::OpenConnection,
    events,
    policy::question::ConnectionSource,
    tcp::{Dialled, Prefixed, connect_direct, relay, serve_opaque, serve_stream},
    worker::{Cell, Worker},
};

/// Joins client and endpoint once the endpoint has agreed to switch; until then it is a response like any other.
pub(super) fn join(client: OnUpgrade, response: &mut Response<ResponseBody>, open: OpenConnection) {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let endpoint = hyper::upgrade::on(&mut *response);
    // The connection is the endpoint's load for as long as it lives.
    let exchange = response.body_mut().take_exchange();
    tokio::task::spawn_local(async move {
        // Either side may go away in the middle of the handshake; then there is nothing to join.
        if let (Ok(client), Ok(endpoint)) = (client.await, endpoint.await) {
            relay(&mut TokioIo::new(client), &mut TokioIo::new(endpoint)).await;
        }
        exchange.into_iter().for_each(Exchange::completed);
        drop(open);
    });
}

/// Serves what comes through a CONNECT to the mesh as if it had been captured on its way there.
pub(super) fn tunnel_to_mesh(
    worker: &Rc<Worker>,
    destination: Destination,
    request: Request<Incoming>,
    open: OpenConnection,
) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            serve_stream(&worker, TokioIo::new(client), destination).await;
        }
        drop(open);
    });
}

/// Joins a CONNECT's client and an endpoint of the mesh that has been connected to.
pub(super) fn tunnel_to_endpoint(
    worker: &Rc<Worker>,
    destination: Destination,
    cell: Rc<Cell>,
    source: ConnectionSource,
    dialled: Dialled,
    request: Request<Incoming>,
    open: OpenConnection,
) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            let client = Prefixed::new(BytesMut::new(), TokioIo::new(client));
            serve_opaque(&worker, client, &destination, &cell, &source, Some(dialled)).await;
        }
        drop(open);
    });
}

/// Connects a CONNECT's client to a host that is not the mesh's.
///
/// # Errors
/// When the host cannot be reached.
pub(super) async fn tunnel_direct(
    worker: &Worker,
    destination: &Destination,
    request: Request<Incoming>,
    open: OpenConnection,
) -> std::io::Result<()> {
    let mut backend = connect_direct(worker, destination).await?;
    tokio::task::spawn_local(async move {
        if let Ok(client) = hyper::upgrade::on(request).await {
            events::passed_through(&relay(&mut TokioIo::new(client), &mut backend).await);
        }
        drop(open);
    });
    Ok(())
}

//! Drives one captured connection.

use std::rc::Rc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmesh_core::service::AppProtocol;

use super::{
    ClientStream, Prefixed, connect_any, connect_direct,
    detect::{DetectError, Detected, Dialled, detect},
    relay,
};
use crate::{
    destination::Destination,
    events::{self, TcpConnection},
    http::{self, HttpVersion},
    worker::{Cell, Routed, Slot, Worker},
};

/// Serves a connection that was captured on its way to `destination`, or asked for by CONNECT, to its end.
pub async fn serve_stream(worker: &Rc<Worker>, client: impl ClientStream, destination: Destination) {
    match worker.route(&destination).await {
        Routed::Mesh(cell) => serve_mesh(worker, client, destination, &cell).await,
        Routed::Passthrough(to) => pass_through(client, &to).await,
        Routed::Refused(refusal) => {
            events::refused(&destination, &refusal.to_string());
            client.refuse();
        }
        Routed::NotYet => {
            events::refused(&destination, "the endpoints of the service have not come yet");
            client.refuse();
        }
    }
}

async fn serve_mesh(worker: &Rc<Worker>, mut client: impl ClientStream, destination: Destination, cell: &Rc<Cell>) {
    let declared = cell.port().map_or(AppProtocol::Detect, |port| port.protocol);
    let known = |http| Ok(Detected { http, first: BytesMut::new(), dialled: None });
    let detected = match declared {
        AppProtocol::Http1 => known(Some(HttpVersion::Http1)),
        AppProtocol::Http2 | AppProtocol::Grpc => known(Some(HttpVersion::Http2)),
        AppProtocol::Tls | AppProtocol::Tcp => known(None),
        AppProtocol::Detect => detect(worker, &destination, cell, &mut client).await,
    };
    let detected = match detected {
        Ok(detected) => detected,
        Err(DetectError::Client) => return,
        Err(DetectError::NoEndpoint) => {
            events::refused(&destination, "no endpoint could be connected to");
            client.refuse();
            return;
        }
    };
    let client = Prefixed::new(detected.first, client);
    match detected.http {
        Some(version) => {
            if let Some(Dialled { pick, stream, first }) = detected.dialled {
                http::keep(&pick.slot, Prefixed::new(first, stream), version).await;
            }
            http::serve_captured(worker, client, destination, version).await;
        }
        None => serve_opaque(worker, client, &destination, cell, detected.dialled).await,
    }
}

/// Forwards bytes between the client and one endpoint.
async fn serve_opaque(
    worker: &Rc<Worker>,
    client: impl ClientStream,
    destination: &Destination,
    cell: &Rc<Cell>,
    dialled: Option<Dialled>,
) {
    match dialled {
        Some(Dialled { pick, stream, first }) => tunnel(cell, &pick.slot, client, Prefixed::new(first, stream)).await,
        None => match connect_any(worker, destination, cell).await {
            Some((pick, stream)) => tunnel(cell, &pick.slot, client, stream).await,
            None => {
                events::refused(destination, "no endpoint could be connected to");
                client.refuse();
            }
        },
    }
}

/// Relays between a client and an endpoint, counted as a connection of the Service and as load of the endpoint.
async fn tunnel(
    cell: &Rc<Cell>,
    slot: &Rc<Slot>,
    mut client: impl ClientStream,
    mut backend: impl AsyncRead + AsyncWrite + Unpin,
) {
    let counted = TcpConnection::open(Rc::clone(cell.metrics()), &slot.load);
    let result = relay(&mut client, &mut backend).await;
    if result.is_err() {
        // Whichever side broke: the other must not take it for an orderly end.
        client.refuse();
    }
    counted.close(result);
}

async fn pass_through(mut client: impl ClientStream, to: &Destination) {
    match connect_direct(to).await {
        Ok(mut backend) => {
            let result = relay(&mut client, &mut backend).await;
            if result.is_err() {
                client.refuse();
            }
            events::passed_through(result);
        }
        Err(error) => {
            events::passthrough_failed(to, &error);
            client.refuse();
        }
    }
}

//! Drives one captured connection.

use std::{future::pending, io, rc::Rc, time::Duration};

use bytes::{BufMut, BytesMut};
use tokio::{io::AsyncReadExt, time::sleep};
use wasmesh_core::{route::Refusal, service::AppProtocol};

use super::{
    Prefixed, Stream, attempts,
    connect::{Dialled, dial_another, is_new},
    connect_direct,
    detect::{DetectError, Detected, await_client, detect},
    dial, relay,
    relay::{Untouched, try_relay},
    sni::server_name,
};
use crate::{
    destination::Destination,
    events,
    http::{self, HttpVersion},
    http1::Upstream,
    policy::question::ConnectionSource,
    service_metrics::TcpConnection,
    worker::{Cell, NoMore, Routed, Worker},
};

/// How long somebody who has closed their side waits for a connection: one that has lost two packets is still made. A client
/// that only wants to listen may close its side at once.
const PATIENCE_AFTER_END: Duration = Duration::from_secs(5);

/// How many bytes of a client are read before it is known where they go.
const FIRST_BYTES: usize = 4096;

/// How a client that speaks TLS begins: a handshake record of any version (RFC 8446, section 5.1).
const TLS_HANDSHAKE: &[u8] = &[0x16, 0x03];

/// Serves a connection that was captured on its way to `destination`, or asked for by CONNECT, to its end.
pub async fn serve_stream(worker: &Rc<Worker>, client: impl Stream, destination: Destination) {
    match worker.route(&destination).await {
        Routed::Mesh(cell) => serve_mesh(worker, client, destination, &cell).await,
        Routed::Passthrough(to) => pass_through(worker, client, &to).await,
        Routed::Refused(refusal @ Refusal::Loop) => {
            events::refused_as_loop(client.peer(), &refusal.to_string());
            client.refuse();
        }
        Routed::Refused(refusal @ Refusal::NoEndpoints) => {
            events::refused(&destination, &refusal.to_string());
            client.refuse();
        }
        Routed::NotYet => {
            events::refused(&destination, "the endpoints of the service have not come yet");
            client.refuse();
        }
    }
}

async fn serve_mesh(worker: &Rc<Worker>, mut client: impl Stream, destination: Destination, cell: &Rc<Cell>) {
    let declared = cell.port().map_or(AppProtocol::Detect, |port| port.protocol);
    let detected = match declared {
        // A declaration is believed as to who speaks first, and not as to what is said: ports that speak two protocols,
        // and names that were chosen in a hurry, work without the mesh.
        AppProtocol::Http1 | AppProtocol::Http2 | AppProtocol::Grpc => await_client(worker, &mut client).await,
        AppProtocol::Tcp => Ok(Detected { http: None, first: BytesMut::new(), dialled: None }),
        // Nothing is decided by it; the name that the client asks for is counted.
        AppProtocol::Tls => detect(worker, &destination, cell, &mut client).await.map(Detected::opaque),
        AppProtocol::Detect => detect(worker, &destination, cell, &mut client).await,
    };
    let detected = match detected {
        Ok(detected) => detected,
        Err(DetectError::Client) => return,
        Err(DetectError::Endpoint) => return client.refuse(),
        Err(DetectError::NoEndpoint(why, first)) => {
            return without_endpoint(worker, Prefixed::new(first, client), &destination, why).await;
        }
    };
    let name = server_name(&detected.first);
    if let Some(name) = &name {
        cell.metrics().tls_connection(name);
    }
    let source = ConnectionSource {
        client: client.peer(),
        is_tls: detected.first.starts_with(TLS_HANDSHAKE),
        server_name: name.map(str::to_ascii_lowercase),
    };
    let client = Prefixed::new(detected.first, client);
    match detected.http {
        Some(version) => {
            if let Some(Dialled { pick, stream, first, .. }) = detected.dialled {
                // Its requests are chosen for one by one.
                pick.lost(false);
                if version == HttpVersion::Http1 && first.is_empty() {
                    pick.slot.pool.give_back_plain(Upstream::new(stream));
                } else {
                    http::keep(&worker.buffers, &pick.slot, Prefixed::new(first, stream), version).await;
                }
            }
            http::serve_captured(worker, client, destination, version).await;
        }
        None => serve_opaque(worker, client, &destination, cell, &source, detected.dialled).await,
    }
}

/// Ends when a client has given up the connection that is being made for it: when its own breaks, or so long after it has
/// closed its side. Without us its system would have given up with it; a system's own patience is two minutes. What the client
/// says meanwhile is kept.
async fn given_up(client: &mut impl Stream, first: &mut BytesMut) -> io::Error {
    while first.len() < FIRST_BYTES {
        match client.read_buf(&mut first.limit(FIRST_BYTES - first.len())).await {
            Ok(0) => {
                sleep(PATIENCE_AFTER_END).await;
                return io::Error::other("the client has closed its side meanwhile");
            }
            Ok(_) => {}
            Err(error) => return error,
        }
    }
    // One that says so much is there.
    pending().await
}

/// Forwards bytes between the client and one endpoint: another if one breaks before it has got or said any.
pub async fn serve_opaque(
    worker: &Rc<Worker>,
    mut client: Prefixed<impl Stream>,
    destination: &Destination,
    cell: &Rc<Cell>,
    source: &ConnectionSource,
    dialled: Option<Dialled>,
) {
    let attempts = || attempts(worker, destination, cell, source);
    let mut dialled = match dialled {
        Some(dialled) => Ok(dialled),
        None => dial(worker, attempts()).await,
    };
    loop {
        let Dialled { pick, stream, first, since, past } = match dialled {
            Ok(dialled) => dialled,
            Err(why) => return without_endpoint(worker, client, destination, why).await,
        };
        let is_silent = first.is_empty();
        match tunnel(cell, &mut client, Prefixed::new(first, stream)).await {
            Ok(()) => return pick.streamed(),
            Err(Untouched { why, unsent }) if is_silent && is_new(worker, since) => {
                client.put_back(unsent);
                dialled = dial_another(worker, attempts().after(past), pick, why).await;
            }
            Err(Untouched { why, .. }) => {
                tracing::debug!("a forwarded connection broke before anything had passed: {why}");
                client.refuse();
                return pick.streamed();
            }
        }
    }
}

/// Nobody could be connected to.
async fn without_endpoint(worker: &Worker, client: impl Stream, destination: &Destination, why: NoMore) {
    match worker.route(destination).await {
        // The Service has gone while one of its endpoints was being connected to.
        Routed::Passthrough(to) if why == NoMore::Exhausted => pass_through(worker, client, &to).await,
        _ => {
            events::refused(destination, why.for_people());
            client.refuse();
        }
    }
}

/// Relays between a client and an endpoint, counted as a connection of the Service.
async fn tunnel(cell: &Cell, client: &mut impl Stream, mut backend: impl Stream) -> Result<(), Untouched> {
    let counted = TcpConnection::open(cell.metrics());
    counted.close(&try_relay(client, &mut backend).await?);
    Ok(())
}

async fn pass_through(worker: &Worker, mut client: impl Stream, to: &Destination) {
    let mut first = BytesMut::with_capacity(FIRST_BYTES);
    let connected = tokio::select! {
        biased;
        connected = connect_direct(worker, to) => connected,
        error = given_up(&mut client, &mut first) => Err(error),
    };
    match connected {
        Ok(mut backend) => {
            let mut client = Prefixed::new(first, client);
            events::passed_through(&relay(&mut client, &mut backend).await);
        }
        Err(error) => {
            events::passthrough_failed(to, &error);
            client.refuse();
        }
    }
}

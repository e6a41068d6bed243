//! Drives one captured connection.

use std::{io, rc::Rc, time::Duration};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use wasmesh_core::service::AppProtocol;

use super::{
    Prefixed, connect_any, connect_direct, relay,
    sniff::{Sniffed, sniff},
};
use crate::{
    destination::Destination,
    events::{self, TcpConnection},
    http,
    worker::{Cell, Routed, Worker, refuse},
};

/// How long an undeclared client may be silent before its backend is dialled: it may be waiting for the server to speak.
const SILENCE: Duration = Duration::from_millis(10);

/// The first bytes of a connection are read into a buffer of this size.
const SNIFF_BYTES: usize = 1024;

/// Serves a captured connection to its end.
pub async fn serve_captured(worker: &Rc<Worker>, connection: TcpStream, destination: Destination) {
    match worker.route(&destination).await {
        Routed::Mesh(cell) => serve_mesh(worker, connection, destination, &cell).await,
        Routed::Passthrough(to) => pass_through(connection, &to).await,
        Routed::Refused(refusal) => {
            events::refused(&destination, &refusal.to_string());
            refuse(&connection);
        }
        Routed::NotYet => {
            events::refused(&destination, "the endpoints of the service have not come yet");
            refuse(&connection);
        }
    }
}

async fn serve_mesh(worker: &Rc<Worker>, mut connection: TcpStream, destination: Destination, cell: &Rc<Cell>) {
    let mut first = BytesMut::new();
    let is_http = match cell.port().map(|port| port.protocol) {
        Some(AppProtocol::Http1) => true,
        Some(AppProtocol::Detect) | None => match read_first(&mut connection, &mut first).await {
            Ok(is_http) => is_http,
            Err(_) => return,
        },
        Some(AppProtocol::Http2 | AppProtocol::Grpc | AppProtocol::Tls | AppProtocol::Tcp) => false,
    };
    let connection = Prefixed::new(first, connection);
    if is_http {
        http::serve_captured(worker, connection, destination).await;
    } else if let Err(connection) = balance_connection(worker, cell, connection).await {
        refuse(connection.get_ref());
    }
}

/// Reads until it is clear what the client speaks, or it is silent for too long.
async fn read_first(connection: &mut TcpStream, first: &mut BytesMut) -> io::Result<bool> {
    first.reserve(SNIFF_BYTES);
    loop {
        match timeout(SILENCE, connection.read_buf(first)).await {
            Err(_) => return Ok(false),
            Ok(read) => {
                let ended = read? == 0;
                match sniff(first) {
                    Sniffed::Http1 => return Ok(true),
                    Sniffed::Opaque => return Ok(false),
                    Sniffed::NeedMore if ended => return Ok(false),
                    Sniffed::NeedMore => {}
                }
            }
        }
    }
}

/// Forwards a connection to an endpoint of the cell. Gives it back if no endpoint could be reached.
async fn balance_connection<IO>(worker: &Rc<Worker>, cell: &Rc<Cell>, connection: IO) -> Result<(), IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // Without a policy object that says otherwise a connection is hashed by nothing: any endpoint is as good.
    match connect_any(worker, cell, worker.random()).await {
        Some((pick, backend)) => {
            tunnel(cell, &pick.slot, connection, backend).await;
            Ok(())
        }
        None => Err(connection),
    }
}

/// Relays between a client and an endpoint, counted as a connection of the Service and as load of the endpoint.
pub async fn tunnel<IO>(cell: &Rc<Cell>, slot: &Rc<crate::worker::Slot>, mut client: IO, mut backend: TcpStream)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let counted = TcpConnection::open(Rc::clone(cell.metrics()), &slot.load);
    counted.close(relay(&mut client, &mut backend).await);
}

async fn pass_through(mut connection: TcpStream, to: &Destination) {
    match connect_direct(to).await {
        Ok(mut backend) => events::passed_through(relay(&mut connection, &mut backend).await),
        Err(error) => {
            events::passthrough_failed(to, &error);
            refuse(&connection);
        }
    }
}

//! Idle connections of one worker to one endpoint.

use std::cell::RefCell;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::request_body::RequestBody;
use crate::clock::now_us;

/// A connection that can take a request.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    /// It has answered before, so the endpoint may have closed it since.
    reused: bool,
}

/// Idle connections, the one used last on top: it is the least likely to have been closed.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since_us: u64,
}

/// Connections beyond this number are closed instead of kept.
const MAX_IDLE: usize = 512;

/// A connection that nobody has used for this long is closed. Below the 60 to 75 s after which most servers do.
const MAX_IDLE_US: u64 = 50_000_000;

impl Pool {
    /// An idle connection that is still open, as far as is known.
    pub(super) fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let oldest = now_us().saturating_sub(MAX_IDLE_US);
        idle.retain(|idle| !idle.connection.sender.is_closed() && idle.since_us >= oldest);
        // One that has just been given back may still be finishing its last message.
        let at = idle.iter().rposition(|idle| idle.connection.sender.is_ready())?;
        Some(idle.remove(at).connection)
    }

    /// Keeps a connection whose last response has been read whole.
    pub(super) fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE && !connection.sender.is_closed() {
            idle.push(Idle { connection: Connection { reused: true, ..connection }, since_us: now_us() });
        }
    }
}

impl Connection {
    /// Speaks HTTP/1.1 on a fresh connection.
    pub(super) async fn open(stream: TcpStream) -> hyper::Result<Self> {
        let (sender, connection) =
            http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Its errors reach the request that suffers them.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, reused: false })
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.sender
    }
}

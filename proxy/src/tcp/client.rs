//! Connections of clients, however they came in.

use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::Prefixed;

/// A client's end of a connection.
pub trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the coming close as much of an error as this kind of connection can tell.
    fn refuse(&self);
}

impl ClientStream for TcpStream {
    /// A reset: an orderly close would look like an empty answer.
    fn refuse(&self) {
        // It fails only on a connection that is already gone.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }
}

impl ClientStream for TokioIo<Upgraded> {
    /// What is inside a CONNECT can only be closed.
    fn refuse(&self) {}
}

impl<IO: ClientStream> ClientStream for Prefixed<IO> {
    fn refuse(&self) {
        self.get_ref().refuse();
    }
}

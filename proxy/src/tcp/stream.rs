//! Either end of a connection, however it came about.

use std::{net::IpAddr, time::Duration};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::Prefixed;

/// A connection that can be closed with an error.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Makes the coming close as much of an error as this kind of connection can tell.
    fn refuse(&self);

    /// The address of the other end, if it has one.
    fn peer(&self) -> Option<IpAddr> {
        None
    }
}

impl Stream for TcpStream {
    /// A reset: an orderly close would look like an empty answer, or like the end of a transfer.
    fn refuse(&self) {
        // It fails only on a connection that is already gone.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer_addr().ok().map(|peer| peer.ip())
    }
}

impl Stream for TokioIo<Upgraded> {
    /// What is inside an HTTP connection can only be closed.
    fn refuse(&self) {}
}

impl<S: Stream> Stream for Prefixed<S> {
    fn refuse(&self) {
        self.get_ref().refuse();
    }

    fn peer(&self) -> Option<IpAddr> {
        self.get_ref().peer()
    }
}

/// Sets what every connection of the proxy has: no delay of small writes, and keepalive probes, since it stands between
/// the two whose own probes would have noticed that the other is gone.
pub fn prepare(connection: &TcpStream) {
    let socket = SockRef::from(connection);
    let probes =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
    // Both fail only on a connection that is already gone.
    let _ = connection.set_nodelay(true);
    let _ = socket.set_tcp_keepalive(&probes);
}

//! Where a captured connection was meant to go.

use std::{io, net::SocketAddr};

use socket2::SockRef;
use tokio::net::TcpStream;

/// The destination that the client dialled before the kernel redirected it here (SO_ORIGINAL_DST).
///
/// # Errors
/// When the connection was not redirected: somebody has dialled the listener itself.
pub(super) fn original_destination(connection: &TcpStream) -> io::Result<SocketAddr> {
    let socket = SockRef::from(connection);
    let address = if connection.local_addr()?.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() }?;
    address.as_socket().ok_or_else(|| io::Error::other("the original destination is no IP address"))
}

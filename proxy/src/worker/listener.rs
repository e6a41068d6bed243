//! Listening sockets: each worker has its own for each address, and the kernel spreads connections over them.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Who comes in at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// Connections that the kernel has redirected here; they are routed by their original destination.
    Captured,
    /// Clients that use us as an HTTP proxy.
    HttpProxy,
}

/// One worker's socket on one address.
#[derive(Debug)]
pub struct WorkerListener {
    pub(super) kind: ListenerKind,
    socket: TcpListener,
}

/// A listener inside a runtime.
pub(super) struct Listening {
    pub(super) kind: ListenerKind,
    pub(super) socket: tokio::net::TcpListener,
}

impl WorkerListener {
    pub(super) fn into_tokio(self) -> io::Result<Listening> {
        Ok(Listening { kind: self.kind, socket: tokio::net::TcpListener::from_std(self.socket)? })
    }
}

/// Binds one socket per worker to the same address. With port 0 the kernel chooses for the first and the others join it.
///
/// # Errors
/// When the address cannot be bound, by us or because somebody else has it.
pub fn bind_all(
    kind: ListenerKind,
    address: SocketAddr,
    workers: usize,
) -> io::Result<(SocketAddr, Vec<WorkerListener>)> {
    let first = bind(address)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![WorkerListener { kind, socket: first }];
    for _ in 1..workers {
        listeners.push(WorkerListener { kind, socket: bind(bound)? });
    }
    Ok((bound, listeners))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has a listener of its own: a v4-mapped client would have a v4-mapped original destination.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

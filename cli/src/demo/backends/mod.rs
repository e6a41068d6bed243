//! The pods of the demo: servers inside this process, each on a loopback address of its own.

mod grpc;
mod http;
mod tcp;

pub(super) use http::BACKEND_HEADER;
pub(super) use tcp::GREETING;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    net::TcpStream,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use super::protocol::Protocol;

/// What an answer takes. Not nothing, so that requests overlap and a policy has load to see.
const WORK: Duration = Duration::from_millis(2);

/// How many other ports are tried when the usual one is taken on one of the addresses.
const OTHER_PORTS: usize = 20;

/// One server.
pub(super) struct Backend {
    serving: JoinHandle<()>,
    leaving: watch::Sender<()>,
}

/// Binds all addresses on one port, as the endpoints of a slice share it: on `usual` if it is free on each of them,
/// else on another.
pub(super) fn bind(addresses: &[Ipv4Addr], usual: u16) -> anyhow::Result<Vec<TcpListener>> {
    let mut port = usual;
    for _ in 0..=OTHER_PORTS {
        match bind_on(addresses, port) {
            Ok(listeners) => return Ok(listeners),
            Err((_, error)) if error.kind() == io::ErrorKind::AddrInUse => port = 0,
            Err((address, error)) => {
                return Err(error).with_context(|| {
                    format!("cannot listen on {address}: the demo's backends need all of 127.0.0.0/8, as Linux has it")
                });
            }
        }
    }
    bail!("found no port that is free on each of {addresses:?}")
}

fn bind_on(addresses: &[Ipv4Addr], mut port: u16) -> Result<Vec<TcpListener>, (Ipv4Addr, io::Error)> {
    let mut listeners = Vec::new();
    for address in addresses {
        let bound = TcpListener::bind((*address, port)).and_then(|listener| {
            // With port 0 the system chooses for the first, and the others follow.
            port = listener.local_addr()?.port();
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listeners.push(bound.map_err(|error| (*address, error))?);
    }
    Ok(listeners)
}

impl Backend {
    /// Serves on a listener until it crashes or leaves. Call it inside a runtime.
    pub(super) fn serve(listener: TcpListener, protocol: Protocol) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (leaving, told) = watch::channel(());
        Ok(Self { serving: tokio::spawn(accept(listener, addr, protocol, told)), leaving })
    }

    /// As when a process dies: its listener and all its connections close at once, whatever they were doing.
    pub(super) async fn crash(self) {
        self.serving.abort();
        // Closed once the task is gone, not when it is told to go.
        let _ = self.serving.await;
    }

    /// As a well-behaved process does when it is asked to end: it takes no more connections, finishes what it is working
    /// on, and where the protocol can say so it lets the other side know.
    pub(super) async fn leave(self) {
        self.leaving.send_replace(());
        let _ = self.serving.await;
    }
}

async fn accept(
    listener: tokio::net::TcpListener,
    addr: SocketAddr,
    protocol: Protocol,
    mut leaving: watch::Receiver<()>,
) {
    // Connections live in this task's set, so that they end with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = leaving.changed() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(serve_connection(stream, addr, protocol, leaving.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// What breaks here the client of the demo sees, if it matters.
async fn serve_connection(stream: TcpStream, addr: SocketAddr, protocol: Protocol, leaving: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let _ = match protocol {
        Protocol::Http => http::serve(stream, addr).await,
        Protocol::Grpc => grpc::serve(stream, addr, leaving).await,
        Protocol::Tcp => tcp::serve(stream, addr).await,
    };
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use http_body_util::{BodyExt, Full};
    use hyper::{Request, client::conn::http2};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::net::TcpStream;

    use super::{Backend, Protocol, bind};
    use crate::demo::grpc;

    #[test]
    fn a_taken_port_is_left_for_another_on_every_address() {
        let addresses = [Ipv4Addr::new(127, 0, 1, 90), Ipv4Addr::new(127, 0, 2, 90)];
        let taken = TcpListener::bind((addresses[1], 0)).unwrap();
        let usual = taken.local_addr().unwrap().port();
        let ports: Vec<_> =
            bind(&addresses, usual).unwrap().iter().map(|bound| bound.local_addr().unwrap().port()).collect();
        assert!(ports[0] == ports[1] && ports[0] != usual, "{ports:?}, {usual} was taken");
    }

    #[tokio::test]
    async fn whoever_leaves_finishes_what_it_has_begun() {
        let listener = bind(&[Ipv4Addr::LOCALHOST], 0).unwrap().remove(0);
        let addr = listener.local_addr().unwrap();
        let backend = Backend::serve(listener, Protocol::Grpc).unwrap();
        let stream = TokioIo::new(TcpStream::connect(addr).await.unwrap());
        let (mut calls, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut call =
            |said| calls.send_request(Request::post("http://echo/").body(Full::new(grpc::encode(said))).unwrap());
        // After the first the server is known to work on the connection, and the second is on its way when it leaves.
        call("first").await.unwrap();
        let (last, ()) = tokio::join!(call("last"), backend.leave());
        let answer = last.unwrap().collect().await.unwrap();
        assert_eq!(answer.trailers().unwrap()[grpc::STATUS], "0");
        assert_eq!(grpc::decode(&answer.to_bytes()).unwrap(), format!("{addr} last"));
        connection.await.unwrap().unwrap();
        assert!(TcpStream::connect(addr).await.is_err());
    }
}

//! The pods of the demo: HTTP servers inside this process, each on a loopback address of its own.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::task::{JoinHandle, JoinSet};

/// Names the backend in each of its answers.
pub(super) const BACKEND_HEADER: &str = "x-backend";

/// What an answer takes. Not nothing, so that requests overlap and a policy has load to see.
const WORK: Duration = Duration::from_millis(2);

/// How many other ports are tried when the usual one is taken on one of the addresses.
const OTHER_PORTS: usize = 20;

/// One server.
pub(super) struct Backend {
    serving: JoinHandle<()>,
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
    /// Serves on a listener until it crashes. Call it inside a runtime.
    pub(super) fn serve(listener: TcpListener) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        let name = HeaderValue::try_from(addr.to_string()).map_err(io::Error::other)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        Ok(Self { serving: tokio::spawn(accept(listener, addr, name)) })
    }

    /// As when a process dies: its listener and all its connections close at once, whatever they were doing.
    pub(super) async fn crash(self) {
        self.serving.abort();
        // Closed once the task is gone, not when it is told to go.
        let _ = self.serving.await;
    }
}

async fn accept(listener: tokio::net::TcpListener, addr: SocketAddr, name: HeaderValue) {
    // Connections live in this task's set, so that they end with it.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve_connection(stream, addr, name.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve_connection(stream: tokio::net::TcpStream, addr: SocketAddr, name: HeaderValue) {
    let answer = service_fn(|_| async {
        tokio::time::sleep(WORK).await;
        let mut response = Response::new(Full::new(Bytes::from(format!("hello from {addr}\n"))));
        response.headers_mut().insert(BACKEND_HEADER, name.clone());
        Ok::<_, Infallible>(response)
    });
    // What breaks here the client of the demo sees, if it matters.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::bind;

    #[test]
    fn a_taken_port_is_left_for_another_on_every_address() {
        let addresses = [Ipv4Addr::new(127, 0, 1, 90), Ipv4Addr::new(127, 0, 2, 90)];
        let taken = TcpListener::bind((addresses[1], 0)).unwrap();
        let usual = taken.local_addr().unwrap().port();
        let ports: Vec<_> =
            bind(&addresses, usual).unwrap().iter().map(|bound| bound.local_addr().unwrap().port()).collect();
        assert!(ports[0] == ports[1] && ports[0] != usual, "{ports:?}, {usual} was taken");
    }
}

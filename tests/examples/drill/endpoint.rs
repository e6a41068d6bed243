//! A pod of the Service that is drilled: it speaks HTTP/1.1, gRPC and plain TCP, keeps the book, and fails as it is told.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use wasmesh_tests::runtime;

use crate::{
    ledger::{Ledger, Place},
    protocol::{self, Protocol},
};

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers.
    Well,
    /// It answers after a while.
    Slow(Duration),
    /// It answers what is under way, and ends its connections as soon as nothing is: as a server does on SIGTERM.
    Leaving,
    /// It is not there: connections break, new ones are refused.
    Dead,
    /// It accepts, reads, and closes.
    Closing,
    /// It answers with bytes that mean nothing.
    Garbage,
    /// It begins to answer, and breaks the connection.
    Breaking,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) ip: Ipv4Addr,
    mood: watch::Sender<Mood>,
    tasks: Vec<JoinHandle<()>>,
}

/// What each of its connections knows.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) place: Place,
    pub(crate) mood: watch::Receiver<Mood>,
    pub(crate) ledger: Arc<Ledger>,
}

impl Endpoint {
    /// One that is well. Its address must be there.
    pub(crate) fn start(place: Place, ip: Ipv4Addr, ledger: &Arc<Ledger>) -> Self {
        let mood = watch::Sender::new(Mood::Well);
        let listen = |protocol: Protocol| {
            let shared = Shared { place, mood: mood.subscribe(), ledger: Arc::clone(ledger) };
            let address = (ip, protocol.port()).into();
            // Bound here, so that it is there when this returns.
            let listener = bind(address).unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
            runtime().spawn(serve(protocol, address, listener, shared))
        };
        let tasks = Protocol::ALL.map(listen).into();
        Self { ip, mood, tasks }
    }

    pub(crate) fn mood(&self) -> Mood {
        *self.mood.borrow()
    }

    /// From now on it behaves like this.
    pub(crate) fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Mood {
    /// Whether it would answer, at once or nearly so.
    pub(crate) fn is_well(self) -> bool {
        matches!(self, Self::Well | Self::Slow(_))
    }

    /// Whether requests that reach it may come to nothing.
    pub(crate) fn breaks(self) -> bool {
        matches!(self, Self::Dead | Self::Closing | Self::Garbage | Self::Breaking)
    }

    fn listens(self) -> bool {
        !matches!(self, Self::Dead | Self::Leaving)
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Listens whenever somebody should.
async fn serve(protocol: Protocol, address: SocketAddr, listener: std::net::TcpListener, shared: Shared) {
    let mut mood = shared.mood.clone();
    let mut connections = JoinSet::new();
    let mut listener = Some(TcpListener::from_std(listener).expect("a listener"));
    loop {
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                match accepted {
                    Ok((stream, _)) => drop(connections.spawn(connection(protocol, stream, shared.clone()))),
                    // No file, or a client that has gone: the next one may fare better.
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
                while connections.try_join_next().is_some() {}
            }
            Ok(()) = mood.changed() => {
                let now = *mood.borrow_and_update();
                if !now.listens() {
                    listener = None;
                } else if listener.is_none() {
                    listener = Some(TcpListener::from_std(bind(address).expect("its address")).expect("a listener"));
                }
            }
        }
    }
}

async fn connection(protocol: Protocol, stream: TcpStream, shared: Shared) {
    let _ = stream.set_nodelay(true);
    // A second handle, so that it can be broken from outside.
    let Ok((raw, stream)) = stream.into_std().and_then(|stream| Ok((stream.try_clone()?, stream))) else { return };
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    if protocol::serve(protocol, stream, &raw, &shared).await.is_err() {
        // Closed with a reset, as by a process that has crashed.
        let _ = set_socket_linger(&raw, Some(Duration::ZERO));
    }
}

//! Connections of proxies over TLS.
//!
//! A handshake takes its time, and whoever dials may never finish it. So accepting goes on meanwhile, and the gRPC server sees
//! connections that are ready. How many handshakes are under way is bounded by the places alone: any other bound would be one that
//! somebody who never finishes his could use up for everyone.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::door::MostConnections;
use crate::{
    connections::{LOOK, Limits, Seat, Seated, Seats},
    identity::events,
};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be open before a call on it has shown a good token: the API server may be asked about it.
const ASKING: Duration = Duration::from_secs(30);

/// The pause after a connection could not be accepted: most likely there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Of how many addresses it is remembered that a failed handshake has been logged.
const MAX_TOLD: usize = 256;

/// Where a call comes from.
#[derive(Clone)]
pub struct Caller {
    /// Its address.
    pub(super) from: Option<SocketAddr>,
    /// The place of its connection, which is its own as long as a call is under way of somebody who is known.
    pub(super) seat: Arc<Seat>,
}

impl Connected for Seated<TcpStream> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller { from: self.get_ref().peer_addr().ok(), seat: Arc::clone(self.seat()) }
    }
}

/// The connections that arrive at a listener, each after its handshake.
pub(super) fn incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    MostConnections { total, per_source }: MostConnections,
) -> ReceiverStream<io::Result<TlsStream<Seated<TcpStream>>>> {
    let (ready, connections) = mpsc::channel(16);
    // What a proxy keeps open is a stream, which ends when it should. A connection without one needs no longer than a new one has.
    let limits = Limits { total, per_source, asking: ASKING, idle: ASKING };
    tokio::spawn(accept(listener, TlsAcceptor::from(config), Seats::new("discovery", limits), ready));
    ReceiverStream::new(connections)
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    seats: Seats,
    ready: mpsc::Sender<io::Result<TlsStream<Seated<TcpStream>>>>,
) {
    let failures = Arc::new(Failures::default());
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = looks.tick() => {
                seats.clear();
                continue;
            }
            () = ready.closed() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                events::accept_failed(&error);
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some((seat, taken)) = seats.take(from) else { continue };
        // A connection that has ended meanwhile; its handshake will find out.
        let _ = stream.set_nodelay(true);
        let handshake = acceptor.accept(Seated::new(stream, Arc::new(seat), taken));
        let (ready, failures) = (ready.clone(), Arc::clone(&failures));
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => {
                    // Nobody listens any more only when the server is ending.
                    let _ = ready.send(Ok(stream)).await;
                }
                Ok(Err(error)) => failures.tell(from.ip(), &error.to_string()),
                Err(_) => failures.tell(from.ip(), &format!("not done within {HANDSHAKE_TIMEOUT:?}")),
            }
        });
    }
}

/// Whose failures have been logged: a port scanner or a proxy that trusts another CA comes again and again.
#[derive(Default)]
struct Failures(Mutex<HashSet<IpAddr>>);

impl Failures {
    fn tell(&self, from: IpAddr, why: &str) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= MAX_TOLD {
            told.clear();
        }
        events::handshake_failed(from, why, told.insert(from));
    }
}

//! Connections of proxies over TLS.
//!
//! A handshake takes its time, and whoever dials may never finish it. So accepting goes on meanwhile, up to a bound, and the
//! gRPC server sees connections that are ready.

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;

use crate::identity::events;

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many handshakes are under way at once; more wait in the system's queue.
const MAX_HANDSHAKES: usize = 512;

/// The pause after a connection could not be accepted: most likely there are no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Of how many addresses it is remembered that a failed handshake has been logged.
const MAX_TOLD: usize = 256;

/// The connections that arrive at a listener, each after its handshake.
pub(super) fn incoming(
    listener: TcpListener,
    config: Arc<ServerConfig>,
) -> ReceiverStream<io::Result<TlsStream<TcpStream>>> {
    let (ready, connections) = mpsc::channel(16);
    tokio::spawn(accept(listener, TlsAcceptor::from(config), ready));
    ReceiverStream::new(connections)
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<io::Result<TlsStream<TcpStream>>>) {
    let turns = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let failures = Arc::new(Failures::default());
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
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
        // A connection that has ended meanwhile; its handshake will find out.
        let _ = stream.set_nodelay(true);
        let (handshake, ready, failures) = (acceptor.accept(stream), ready.clone(), Arc::clone(&failures));
        tokio::spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(Ok(stream)) => {
                    // Nobody listens any more only when the server is ending.
                    let _ = ready.send(Ok(stream)).await;
                }
                Ok(Err(error)) => failures.tell(from.ip(), &error.to_string()),
                Err(_) => failures.tell(from.ip(), &format!("not done within {HANDSHAKE_TIMEOUT:?}")),
            }
            drop(turn);
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

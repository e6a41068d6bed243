//! DNS at the pod: names of the mesh are answered from what is held, everything else is forwarded.
//!
//! What a name means is decided in [`wasmesh_core::dns`]. Here it is read from the wire and written to it ([`message`]), served
//! over [`udp`] and [`tcp`], and what the mesh does not know is had from the pod's own name servers ([`upstream`]) through a bounded
//! [`cache`]. It all runs on one thread, away from the workers. Nothing here makes a pod worse off than without it: a mesh that knows
//! nothing yet forwards everything.

mod answer;
mod cache;
mod events;
mod foreign;
mod message;
mod port;
mod servers;
mod tcp;
mod udp;
mod upstream;

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    rc::Rc,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{sync::mpsc, task::LocalSet};
use wasmesh_core::dns::Zone;

pub use events::describe;
pub(crate) use foreign::message as foreign_message;
pub use servers::NameServers;

use self::{answer::Answerer, cache::Cache, upstream::Upstream};
use crate::{
    Options,
    world::{Subscribe, Worlds},
};

/// How many answers of other name servers are kept.
const MAX_CACHED: usize = 4096;

/// The bytes of all that are kept. Together with [`MAX_CACHED`] it bounds what a flood of names can cost.
const MAX_CACHED_BYTES: usize = 4 * 1024 * 1024;

/// The sockets of one address, for both transports.
#[derive(Debug)]
pub struct DnsListener {
    /// Where it listens.
    pub address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl DnsListener {
    /// Binds both transports to one address. With port 0 the kernel chooses one that is free for both.
    ///
    /// # Errors
    /// When either cannot be bound.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        // A port that is free for one may be taken for the other.
        let mut attempts = if address.port() == 0 { 10 } else { 1 };
        loop {
            attempts -= 1;
            let udp = UdpSocket::bind(address)?;
            let address = udp.local_addr()?;
            match TcpListener::bind(address) {
                Ok(tcp) => {
                    udp.set_nonblocking(true)?;
                    tcp.set_nonblocking(true)?;
                    return Ok(Self { address, udp, tcp });
                }
                Err(_) if attempts > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// What answers need to know.
pub struct Dns {
    /// The sockets.
    pub listeners: Vec<DnsListener>,
    /// The domain of the cluster.
    pub zone: Zone,
    /// What the mesh knows.
    pub worlds: Worlds,
    /// Where endpoints are asked for: a headless Service is its endpoints.
    pub wanted: mpsc::Sender<Subscribe>,
    /// How long an answer waits for them.
    pub first_use_wait: Duration,
    /// Who else knows names.
    pub servers: NameServers,
    /// Questions at once whose answer takes time.
    pub max_queries: usize,
    /// TCP connections of clients at once.
    pub max_connections: usize,
}

impl Dns {
    /// Joins what was bound with what the options say; `None` when nothing listens.
    ///
    /// # Errors
    /// When the name servers cannot be found out, or one of them is this very proxy.
    pub fn new(
        options: &Options,
        listeners: Vec<DnsListener>,
        worlds: Worlds,
        wanted: mpsc::Sender<Subscribe>,
    ) -> anyhow::Result<Option<Self>> {
        if listeners.is_empty() {
            return Ok(None);
        }
        let servers = NameServers::find(&options.dns_upstream).context("the name servers to ask are not known")?;
        if let Some(own) = listeners.iter().find(|listener| servers.contains(listener.address)) {
            bail!("{} is both where this proxy answers (--dns-listen) and a server that it would ask", own.address);
        }
        Ok(Some(Self {
            listeners,
            zone: Zone::new(&options.cluster_domain),
            worlds,
            wanted,
            first_use_wait: options.first_use_wait,
            servers,
            max_queries: options.max_dns_queries,
            max_connections: options.max_dns_connections,
        }))
    }

    /// Serves until the end of the process.
    pub async fn run(self) {
        let upstream = Upstream::new(&self.servers);
        let cache = Cache::new(MAX_CACHED, MAX_CACHED_BYTES);
        let (zone, wait) = (self.zone, self.first_use_wait);
        let answerer = Answerer::new(zone, self.worlds, self.wanted, wait, upstream, cache, self.max_queries);
        let answerer = Rc::new(answerer);
        let tasks = LocalSet::new();
        let slots = Rc::new(tokio::sync::Semaphore::new(self.max_connections));
        for listener in self.listeners {
            let sockets =
                (tokio::net::UdpSocket::from_std(listener.udp), tokio::net::TcpListener::from_std(listener.tcp));
            match sockets {
                (Ok(udp), Ok(tcp)) => {
                    tasks.spawn_local(udp::serve(Rc::new(udp), Rc::clone(&answerer)));
                    tasks.spawn_local(tcp::serve(tcp, Rc::clone(&answerer), Rc::clone(&slots)));
                }
                (Err(error), _) | (_, Err(error)) => tracing::error!("DNS cannot be served: {error}"),
            }
        }
        tasks.await;
    }
}

//! Very many proxies at once, in little memory: all are told the same and hold the same, so the first of them keeps the table
//! that all would have, and the others say of themselves what is so of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, transport::Endpoint};
use wasmesh_core::backoff::{Backoff, Jitter};
use wasmesh_proto::{
    PROTOCOL,
    session::client::ClientSession,
    wire::{self, discovery_client::DiscoveryClient, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};

use crate::{PATIENCE, runtime};

/// Proxies that run until this is dropped.
pub struct Fleet {
    size: usize,
    shared: Arc<Shared>,
    told: mpsc::UnboundedReceiver<Told>,
    _streams: JoinSet<()>,
}

struct Shared {
    endpoint: Endpoint,
    token: String,
    node: wire::Node,
    service: String,
    told: mpsc::UnboundedSender<Told>,
    /// What all hold.
    held: watch::Sender<Option<wire::Checksums>>,
    /// Counts how often all were told to connect anew.
    generation: watch::Sender<u64>,
    bytes: AtomicU64,
}

/// What a proxy has heard.
enum Told {
    /// All of the first update of a stream.
    First,
    /// An update that carries this endpoint address.
    Address([u8; 4], Instant),
}

impl Fleet {
    /// Connects so many proxies, all of the pod that the token is of, and waits until each is up to date. They use one Service.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn connect(endpoint: Endpoint, token: &str, node: wire::Node, service: &str, size: usize) -> Self {
        let (told, heard) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            endpoint,
            token: token.to_owned(),
            node,
            service: service.to_owned(),
            told,
            held: watch::Sender::new(None),
            generation: watch::Sender::new(0),
            bytes: AtomicU64::new(0),
        });
        let mut streams = JoinSet::new();
        streams.spawn_on(run(Arc::clone(&shared), Some(ClientSession::default())), runtime().handle());
        let mut fleet = Self { size, shared, told: heard, _streams: JoinSet::new() };
        // The others hold what the first one does.
        fleet.await_first(1);
        for _ in 1..size {
            streams.spawn_on(run(Arc::clone(&fleet.shared), None), runtime().handle());
        }
        fleet._streams = streams;
        fleet.await_first(size - 1);
        fleet
    }

    /// Ends all streams and their connections at once, and waits until each proxy has another and is up to date.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn reconnect(&mut self) -> Duration {
        let begun = Instant::now();
        self.shared.generation.send_modify(|generation| *generation += 1);
        self.await_first(self.size);
        begun.elapsed()
    }

    /// Waits until every proxy has been told of an endpoint at this address; says when the last one was.
    ///
    /// # Panics
    /// When that takes too long.
    pub fn until_told(&mut self, address: [u8; 4]) -> Instant {
        let mut last = None;
        for _ in 0..self.size {
            let at = loop {
                if let Told::Address(heard, at) = self.next()
                    && heard == address
                {
                    break at;
                }
            };
            last = last.max(Some(at));
        }
        last.expect("a fleet of at least one")
    }

    /// Bytes of all updates so far, to all proxies.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    fn await_first(&mut self, proxies: usize) {
        let mut waiting = proxies;
        while waiting > 0 {
            waiting -= usize::from(matches!(self.next(), Told::First));
        }
    }

    fn next(&mut self) -> Told {
        let told = runtime().block_on(async { tokio::time::timeout(3 * PATIENCE, self.told.recv()).await });
        told.expect("a fleet that hears something").expect("streams that run")
    }
}

/// Keeps a stream open. `leader` is the session of the first, who takes in what all are told.
async fn run(shared: Arc<Shared>, mut leader: Option<ClientSession>) {
    let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), Jitter::Full);
    let mut backoff = backoff.expect("bounds in the right order");
    let mut generation = shared.generation.subscribe();
    loop {
        generation.mark_unchanged();
        tokio::select! {
            ended = stream(&shared, &mut leader) => {
                // As a proxy does that finds the control plane busy.
                let Err(_) = ended;
                tokio::time::sleep(backoff.next(fastrand::u64(..))).await;
            }
            _ = generation.changed() => backoff.reset(),
        }
    }
}

async fn stream(shared: &Shared, leader: &mut Option<ClientSession>) -> Result<std::convert::Infallible, Status> {
    let unavailable = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
    let channel = shared.endpoint.connect().await.map_err(|error| unavailable(&error))?;
    let (outbox, messages) = mpsc::channel(8);
    let mut request = Request::new(ReceiverStream::new(messages));
    let bearer = format!("Bearer {}", shared.token).parse().expect("a token that fits into a header");
    request.metadata_mut().insert("authorization", bearer);
    let hello = match leader {
        Some(session) => {
            session.subscribe(&shared.service.parse().expect("a name"));
            session.hello(shared.node.clone())
        }
        None => from_proxy(FromProxy::Hello(wire::Hello {
            protocol: PROTOCOL,
            node: Some(shared.node.clone()),
            held: shared.held.borrow().clone(),
            subscriptions: vec![shared.service.clone()],
            rejected: Vec::new(),
        })),
    };
    let said = |_| Status::unavailable("the stream has ended");
    outbox.send(hello).await.map_err(said)?;
    let mut inbox = DiscoveryClient::new(channel).stream(request).await?.into_inner();
    let mut is_first = true;
    while let Some(message) = inbox.message().await? {
        let update = match &message.message {
            Some(ToProxy::Update(part)) => part,
            Some(ToProxy::Welcome(_)) | None if leader.is_none() => continue,
            _ if leader.is_none() => return Err(Status::internal("what only the first proxy can answer")),
            _ => &wire::Update { more: true, ..Default::default() },
        };
        shared.bytes.fetch_add(message.encoded_len() as u64, Ordering::Relaxed);
        let is_whole = !update.more;
        for address in addresses(update) {
            let _ = shared.told.send(Told::Address(address, Instant::now()));
        }
        let replies = match leader {
            Some(session) => {
                let replies = session.on_message(message).map_err(|error| unavailable(&error))?.replies;
                let buckets = session.table().checksums().as_slice().to_vec();
                shared.held.send_replace(Some(wire::Checksums { buckets }));
                replies
            }
            None if is_whole => {
                let ack = wire::Ack { nonce: update.nonce, rejected: Vec::new(), checksum: update.checksum };
                vec![from_proxy(FromProxy::Ack(ack))]
            }
            None => Vec::new(),
        };
        for reply in replies {
            outbox.send(reply).await.map_err(said)?;
        }
        if is_whole && std::mem::take(&mut is_first) {
            let _ = shared.told.send(Told::First);
        }
    }
    Err(Status::unavailable("closed"))
}

/// The addresses of endpoints that are new or changed in an update of one Service; of others nobody asks.
fn addresses(update: &wire::Update) -> Vec<[u8; 4]> {
    let [item] = &update.items[..] else { return Vec::new() };
    let body = wire::ItemBody::decode(item.body.clone()).expect("an item");
    let endpoints = body.endpoints.into_iter().flat_map(|endpoints| endpoints.upserts);
    endpoints.filter_map(|endpoint| endpoint.ip[..].try_into().ok()).collect()
}

fn from_proxy(message: FromProxy) -> wire::FromProxy {
    wire::FromProxy { message: Some(message) }
}

//! The proxy's side of the stream: keeps connected, publishes worlds, asks for endpoints and gives them up.
//!
//! The last good world serves for as long as there is no stream; nothing here ever takes it away.

mod connection;
mod token;

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use wasmesh_core::{
    backoff::{Backoff, Jitter},
    candidates::Viewpoint,
    name::ServiceName,
};
use wasmesh_proto::{
    session::{
        Rejected,
        client::{Applied, ClientSession, owners_request},
    },
    wire::{self, discovery_client::DiscoveryClient, from_proxy::Message},
};

use crate::{
    clock::now_us,
    events, owners,
    policy::{peers::Peers, status::PolicyStatus},
    world::{Subscribe, World, WorldBuilder},
};

/// How long the control plane may take to answer Hello. It admits a crowd at a bounded rate, so it is patient.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);

/// A stream that lived this long counts as a recovery: the next loss starts with short pauses again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Messages that wait to be written. From a control plane that does not read, no more is read meanwhile.
const MAX_UNSENT: usize = 4096;

/// How often unused subscriptions are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// How many errors are remembered, so that each is logged once.
const MAX_SAID: usize = 16;

/// Bytes of one message. The server makes parts of about 1 MiB; one Service with very many endpoints may exceed that.
const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

pub use connection::{Connection, ControlPlane, WrongControlPlane};

/// How discovery stands, for people.
#[derive(Debug, Clone, Default)]
pub struct Status {
    /// The replica whose stream is open.
    pub connected_to: Option<String>,
    /// Why there is no stream, or why the last one ended.
    pub last_error: Option<String>,
    /// What was rejected.
    pub rejected: Vec<(ServiceName, Rejected)>,
    /// How many Services' endpoints are subscribed.
    pub subscriptions: usize,
}

/// Shared with the admin pages.
#[derive(Clone, Default)]
pub struct SharedStatus(Arc<Mutex<Status>>);

impl SharedStatus {
    /// As it is now.
    pub fn get(&self) -> Status {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What discovery needs.
pub struct Discovery {
    /// Where the control plane is.
    pub control_plane: ControlPlane,
    /// Who this proxy is.
    pub node: wire::Node,
    /// Makes worlds.
    pub builder: WorldBuilder,
    /// Where worlds are published.
    pub publish: watch::Sender<Arc<World>>,
    /// What workers ask for.
    pub wanted: mpsc::Receiver<Subscribe>,
    /// Shown on the admin pages.
    pub status: SharedStatus,
    /// After how long without use the endpoints of a Service are given up.
    pub idle_after: Duration,
    /// Where the connection to the control plane is lent out, for modules.
    pub channel: watch::Sender<Option<Connection>>,
    /// What is to be said of policies.
    pub policies: watch::Receiver<PolicyStatus>,
    /// Where policies see how many proxies balance over the same endpoints.
    pub peers: Peers,
    /// Addresses whose owners are to be asked for, and where it is told what the control plane says.
    pub addresses: (mpsc::Receiver<Vec<SocketAddr>>, mpsc::Sender<owners::Told>),
}

/// How a stream ended.
enum End {
    /// It has lived long enough; another one is opened at once.
    Renewed,
    /// It broke, or never was. Why.
    Lost(String),
}

impl Discovery {
    /// Runs for ever.
    pub async fn run(self) {
        let Self {
            control_plane,
            node,
            builder,
            publish,
            mut wanted,
            status,
            idle_after,
            channel,
            policies,
            peers,
            addresses,
        } = self;
        let (asked, told) = addresses;
        let mut state = State {
            session: ClientSession::default(),
            builder,
            publish,
            status,
            idle_after,
            channel,
            policies,
            peers,
            asked,
            told,
            said: BTreeSet::new(),
        };
        let mut random = fastrand::Rng::new();
        let Ok(mut backoff) = Backoff::new(Duration::from_millis(100), Duration::from_secs(15), Jitter::Full) else {
            unreachable!("the bounds are constants in the right order");
        };
        loop {
            let started = Instant::now();
            let end = state.stream(&control_plane, &node, &mut wanted).await;
            let was_healthy = started.elapsed() > HEALTHY_AFTER;
            if was_healthy {
                backoff.reset();
            }
            match end {
                End::Renewed if was_healthy => continue,
                // Whoever renews streams all the time is not to be asked all the time.
                End::Renewed => {}
                End::Lost(error) => state.disconnected(&error),
            }
            let again_at = Instant::now() + backoff.next(random.u64(..));
            state.while_waiting(&mut wanted, sleep_until(again_at)).await;
        }
    }
}

struct State {
    session: ClientSession,
    builder: WorldBuilder,
    publish: watch::Sender<Arc<World>>,
    status: SharedStatus,
    idle_after: Duration,
    channel: watch::Sender<Option<Connection>>,
    policies: watch::Receiver<PolicyStatus>,
    peers: Peers,
    /// Addresses whose owners are to be asked for.
    asked: mpsc::Receiver<Vec<SocketAddr>>,
    told: mpsc::Sender<owners::Told>,
    /// Why there was no stream since the last one, as far as it has been logged.
    said: BTreeSet<String>,
}

impl State {
    /// One stream, from dialling to its end.
    async fn stream(
        &mut self,
        control_plane: &ControlPlane,
        node: &wire::Node,
        wanted: &mut mpsc::Receiver<Subscribe>,
    ) -> End {
        let channel = match self.while_waiting(wanted, control_plane.connect()).await {
            Ok(channel) => channel,
            Err(why) => return End::Lost(why),
        };
        let (outbox, messages) = mpsc::channel(64);
        // The channel is empty and has room.
        let _ = outbox.try_send(self.session.hello(node.clone()));
        let mut client = client(channel.clone());
        let opening = timeout(WELCOME_TIMEOUT, client.stream(ReceiverStream::new(messages)));
        let inbox = match self.while_waiting(wanted, opening).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => {
                return End::Lost(format!("the control plane refuses the stream: {}", status.message()));
            }
            Err(_) => return End::Lost(format!("the control plane does not answer within {WELCOME_TIMEOUT:?}")),
        };
        self.channel.send_replace(Some(channel));
        let ended = self.converse(inbox, &outbox, wanted).await;
        self.channel.send_replace(None);
        ended
    }

    async fn converse(
        &mut self,
        mut inbox: tonic::Streaming<wire::ToProxy>,
        outbox: &mpsc::Sender<wire::FromProxy>,
        wanted: &mut mpsc::Receiver<Subscribe>,
    ) -> End {
        let lost = |why: &str| End::Lost(why.to_owned());
        let mut sweep = interval(SWEEP.min(self.idle_after));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let welcome_by = Instant::now() + WELCOME_TIMEOUT;
        let mut welcomed = false;
        let mut told = Some(wire::PolicyReport::default());
        // Written while reading goes on: two ends that both only wrote would wait for each other for ever.
        let mut unsent: VecDeque<wire::FromProxy> = VecDeque::new();
        loop {
            tokio::select! {
                permit = outbox.reserve(), if !unsent.is_empty() => match (permit, unsent.pop_front()) {
                    (Ok(permit), Some(message)) => permit.send(message),
                    _ => return lost("the stream has broken"),
                },
                message = inbox.message(), if unsent.len() < MAX_UNSENT => match message {
                    Ok(Some(message)) => match self.session.on_message(message) {
                        Ok(reaction) => {
                            if let Some(by) = reaction.welcomed_by {
                                welcomed = true;
                                // Whoever asked before the stream has given up on the answer, or will.
                                while self.asked.try_recv().is_ok() {}
                                // A control plane that has just met us knows nothing of our policies.
                                if !self.policies.borrow().report.states.is_empty() {
                                    self.policies.mark_changed();
                                }
                                self.connected(by, reaction.welcomed_as);
                            }
                            if let Some(applied) = reaction.applied {
                                self.apply(applied);
                            }
                            if !reaction.peers.is_empty() {
                                self.peers.tell(reaction.peers);
                            }
                            if !reaction.owners.is_empty() {
                                // What there is no room for was not asked lately.
                                let _ = self.told.try_send(reaction.owners);
                            }
                            unsent.extend(reaction.replies);
                        }
                        Err(error) => return lost(&format!("the control plane breaks the protocol: {error}")),
                    },
                    Ok(None) => return lost("the control plane has closed the stream"),
                    Err(status) if status.code() == Code::Aborted => {
                        events::stream_renewed(status.message());
                        return End::Renewed;
                    }
                    Err(status) => return lost(&format!("the stream has broken: {}", status.message())),
                },
                Some(Subscribe(name)) = wanted.recv() => unsent.extend(self.subscribe(&name)),
                // One at a time, or one that does not read would be owed ever more.
                Some(addresses) = self.asked.recv(), if welcomed && unsent.is_empty() => unsent.push_back(owners_request(&addresses)),
                Ok(()) = self.policies.changed(), if welcomed => {
                    let report = self.policies.borrow_and_update().report.clone();
                    if told.as_ref() != Some(&report) {
                        told = Some(report.clone());
                        unsent.push_back(wire::FromProxy { message: Some(Message::Policies(report)) });
                    }
                }
                _ = sweep.tick(), if welcomed => unsent.extend(self.give_up_unused()),
                () = sleep_until(welcome_by), if !welcomed => {
                    return lost(&format!("the control plane does not say Welcome within {WELCOME_TIMEOUT:?}"));
                }
            }
        }
    }

    /// Notes what workers ask for while something else takes its time; the next Hello, or the stream, says it.
    async fn while_waiting<T>(&mut self, wanted: &mut mpsc::Receiver<Subscribe>, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                Some(Subscribe(name)) = wanted.recv() => {
                    self.subscribe(&name);
                }
            }
        }
    }

    fn subscribe(&mut self, name: &ServiceName) -> Option<wire::FromProxy> {
        let message = self.session.subscribe(name);
        self.status.lock().subscriptions = self.session.subscriptions().len();
        message
    }

    /// The new world is published before the acknowledgement is sent: once the control plane has that, nobody here picks
    /// what was taken away.
    fn apply(&mut self, applied: Applied) {
        for (name, rejected) in &applied.rejected {
            events::resource_rejected(name, rejected);
        }
        if applied.diverged {
            events::diverged();
        }
        self.publish(applied.table, true);
        let mut status = self.status.lock();
        status.rejected = self.session.rejected().iter().map(|(name, why)| (name.clone(), why.clone())).collect();
    }

    fn publish(&mut self, table: wasmesh_core::table::Table, complete: bool) {
        let before = self.builder.world().live.clone();
        let (world, leaving) = self.builder.advance(table, complete, now_us());
        self.publish.send_replace(Arc::clone(&world));
        leaving.withdraw();
        events::world_published(&before, &world);
    }

    fn give_up_unused(&mut self) -> Option<wire::FromProxy> {
        let now = now_us();
        // Use is noted once a second.
        let idle_us = self.idle_after.as_micros() as u64 + 1_000_000;
        let world = self.builder.world();
        let unused: Vec<ServiceName> = world
            .live
            .iter()
            .filter(|(_, service)| now.saturating_sub(service.last_used_us()) > idle_us)
            .filter(|(_, service)| service.loads().iter().all(|(_, load)| load.in_flight() == 0))
            .map(|(name, _)| name.clone())
            .collect();
        // What does not exist need not be waited for: its next use asks again.
        let gone = self.session.subscriptions().iter().filter(|name| world.table.get(name).is_none()).cloned();
        let unused: Vec<ServiceName> = unused.into_iter().chain(gone).collect();
        let message = self.session.unsubscribe(&unused)?;
        tracing::debug!(services = unused.len(), "endpoints given up: unused");
        self.publish(self.session.table().clone(), false);
        self.status.lock().subscriptions = self.session.subscriptions().len();
        Some(message)
    }

    /// What a control plane says of this pod's place is better than what the pod was told of it: it knows the node's zone.
    fn connected(&mut self, by: String, welcomed_as: Option<wire::Node>) {
        events::control_plane_connected(&by);
        if let Some(wire::Node { node, zone, .. }) = welcomed_as {
            self.builder.stand_at(Viewpoint { node, zone });
        }
        self.said.clear();
        let mut status = self.status.lock();
        status.connected_to = Some(by);
        status.last_error = None;
    }

    fn disconnected(&mut self, error: &str) {
        // One attempt is refused, the next is not answered, and so on: each of them is said once.
        if self.said.len() >= MAX_SAID {
            self.said.clear();
        }
        let is_news = self.said.insert(error.to_owned());
        let mut status = self.status.lock();
        let was_connected = status.connected_to.take().is_some();
        events::control_plane_lost(error, was_connected, is_news);
        status.last_error = Some(error.to_owned());
    }
}

fn client(connection: Connection) -> DiscoveryClient<Connection> {
    DiscoveryClient::new(connection).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

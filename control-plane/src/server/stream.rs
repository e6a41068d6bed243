//! One stream: moves messages between a connection and its session.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{self, Instant, MissedTickBehavior},
};
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use wasmesh_core::{service::Service, snapshot::Snapshot};
use wasmesh_proto::{
    session::server::{self, Reaction, ServerSession, SessionError},
    wire::{self, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};

use super::{peers::Told, shared::Shared, streams::Entry};
use crate::{
    events,
    identity::Identity,
    policies::reports,
    published::{Latest, Published},
};

/// How long a proxy may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a proxy may be told how many others there are, and how soon the first time.
const PEERS_EVERY: Duration = Duration::from_secs(3);
const FIRST_PEERS: Duration = Duration::from_millis(500);

/// Within this time a proxy whose node has come to stand in another zone is asked to come again. The nodes of a whole zone may be
/// known all at once, when this replica has not been able to read them before.
const MOVED_WITHIN: Duration = Duration::from_secs(5);

/// The share of the longest life of a stream that one lives.
const LIFE: std::ops::Range<f64> = 5.0 / 6.0..1.0;

/// One stream; `I` gives the proxy's messages.
pub(super) struct Stream<I> {
    shared: Arc<Shared>,
    identity: Identity,
    latest: Latest,
    inbox: I,
    outbox: mpsc::Sender<Result<wire::ToProxy, Status>>,
    /// What waits for room in `outbox`: never more than one update and the answers to what came before it.
    unsent: VecDeque<wire::ToProxy>,
    session: ServerSession,
    /// The subscriptions are others than those that operators see.
    subscriptions_changed: bool,
    /// What the proxy knows of its peers.
    told: Told,
    /// The addresses whose owners it has asked for last and not been told yet.
    owners_asked: Vec<SocketAddr>,
    entry: Option<Entry>,
}

/// How a stream ended.
enum End {
    /// The proxy has closed it or is gone.
    Left(String),
    /// We end it and say why.
    Ended(&'static str, Status),
}

impl<I: tokio_stream::Stream<Item = Result<wire::FromProxy, Status>> + Unpin> Stream<I> {
    pub(super) fn new(
        shared: Arc<Shared>,
        identity: Identity,
        inbox: I,
        outbox: mpsc::Sender<Result<wire::ToProxy, Status>>,
    ) -> Self {
        let session = ServerSession::new(shared.name.clone());
        let latest = shared.latest.clone();
        Self {
            shared,
            identity,
            latest,
            inbox,
            outbox,
            unsent: VecDeque::new(),
            session,
            subscriptions_changed: false,
            told: Told::default(),
            owners_asked: Vec::new(),
            entry: None,
        }
    }

    /// Runs until either side ends the stream.
    pub(super) async fn run(mut self) {
        let (reason, detail) = match self.converse().await {
            End::Left(detail) => ("left", detail),
            End::Ended(reason, status) => {
                let detail = status.message().to_owned();
                // Nobody may be there any more to hear it.
                let _ = self.outbox.send(Err(status)).await;
                (reason, detail)
            }
        };
        if self.entry.take().is_some() {
            events::stream_closed(self.session.node(), reason, &detail);
        } else {
            events::stream_ended("", reason, &detail);
        }
    }

    async fn converse(&mut self) -> End {
        let mut stopping = self.shared.stopping.clone();
        let stop = async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        // Streams that were opened together do not end together.
        let life = self.shared.stream_life.mul_f64(LIFE.start + (LIFE.end - LIFE.start) * fastrand::f64());
        tokio::select! {
            end = self.exchange() => end,
            () = time::sleep(life) => End::Ended("renewed", Status::aborted("this stream has lived its time")),
            () = stop => End::Ended("shutdown", Status::unavailable("this control plane is shutting down")),
        }
    }

    async fn exchange(&mut self) -> End {
        let mut published = match self.latest.wait_for(Option::is_some).await {
            Ok(first) => first.clone(),
            Err(_) => return End::Ended("shutdown", Status::unavailable("this control plane is shutting down")),
        };
        match time::timeout(HELLO_TIMEOUT, self.inbox.next()).await {
            Err(_) => return End::Ended("silent", Status::deadline_exceeded("no Hello came within 10 s")),
            Ok(message) => {
                if let Err(end) = self.take(message, published.as_deref()) {
                    return end;
                }
            }
        }
        events::stream_opened(self.session.node());
        self.entry = Some(self.shared.streams.enter(self.session.node().clone()));
        let outbox = self.outbox.clone();
        let mut peers = time::interval_at(Instant::now() + FIRST_PEERS, PEERS_EVERY);
        peers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut zones = self.shared.zones.follow();
        let mut move_at = self.move_at(None);
        loop {
            if let Some(latest) = &published {
                self.bring_up_to_date(latest);
            }
            self.tell_owners();
            // Reading goes on while something waits to be sent: two ends that both only write would wait for each other
            // for ever. What there is room for goes out before anything new comes in.
            tokio::select! {
                biased;
                room = outbox.reserve(), if !self.unsent.is_empty() => match (room, self.unsent.pop_front()) {
                    (Ok(room), Some(message)) => room.send(Ok(message)),
                    (Err(_), _) => return End::Left("the connection is gone".to_owned()),
                    (Ok(_), None) => {}
                },
                changed = self.latest.changed() => match changed {
                    Ok(()) => published = self.latest.borrow_and_update().clone(),
                    Err(_) => return End::Ended("shutdown", Status::unavailable("this control plane is shutting down")),
                },
                Ok(()) = zones.changed() => move_at = self.move_at(move_at),
                () = time::sleep_until(move_at.unwrap_or_else(Instant::now)), if move_at.is_some() => {
                    return End::Ended("moved", Status::aborted("the node of this proxy stands in another zone now"));
                }
                _ = peers.tick() => {
                    if let Some(latest) = &published {
                        self.tell_peers(&latest.snapshot);
                    }
                }
                message = self.inbox.next() => {
                    if let Err(end) = self.take(message, published.as_deref()) {
                        return end;
                    }
                }
            }
        }
    }

    /// When this stream is to end because the node of its proxy stands elsewhere than the proxy was told; `planned` is when it
    /// is to already.
    ///
    /// What a proxy is told of a Service depends on its zone, and so does what it has acknowledged: a stream has one from
    /// beginning to end. The next one goes on where this one ends, and what is the same from both zones is not sent again. A
    /// zone that is not known any more says nothing of where the node stands.
    fn move_at(&self, planned: Option<Instant>) -> Option<Instant> {
        let zone = self.shared.zones.zone_of(self.identity.node()?)?;
        let has_moved = zone != self.session.node().zone;
        has_moved.then(|| planned.unwrap_or_else(|| Instant::now() + MOVED_WITHIN.mul_f64(fastrand::f64())))
    }

    fn bring_up_to_date(&mut self, latest: &Published) {
        let update = self.session.poll(&latest.snapshot, &self.shared.encoder);
        if !update.is_empty() {
            events::update_sent();
        }
        self.unsent.extend(update);
        self.show(latest);
    }

    /// Tells how many proxies balance over the same endpoints, where a policy may ask for it. A proxy that is slow to read
    /// is told later.
    fn tell_peers(&mut self, latest: &Snapshot) {
        if !self.unsent.is_empty() {
            return;
        }
        let subscribed = self.session.subscriptions().iter();
        let with_module = subscribed.filter(|name| latest.get(name).is_some_and(|service| has_module(service)));
        let counts = self.shared.streams.subscribers(with_module.cloned().collect());
        let news = self.told.news(counts).map(|peers| wire::ToProxy { message: Some(ToProxy::Peers(peers)) });
        self.unsent.extend(news);
    }

    /// Answers what was asked last, once there is room: one that asks and does not read is owed one answer and not a queue.
    fn tell_owners(&mut self) {
        if self.unsent.is_empty() && !self.owners_asked.is_empty() {
            let addresses = std::mem::take(&mut self.owners_asked);
            self.unsent.push_back(server::owners(self.shared.owners.of(addresses)));
        }
    }

    /// Brings what operators see of this stream up to date.
    fn show(&mut self, latest: &Published) {
        let Some(entry) = &self.entry else { return };
        if std::mem::take(&mut self.subscriptions_changed) {
            entry.subscribe(self.session.subscriptions().clone());
        }
        if let Some(holding) = self.session.holding() {
            entry.holds(holding);
        }
        let now = (latest.sequence, latest.version);
        let is_current = self.session.is_current(&latest.snapshot);
        entry.update(|status| {
            if is_current && status.acknowledged.replace(now) != Some(now) {
                events::acknowledged(&self.shared.metrics, latest, status.since);
            }
            status.rejected.clone_from(self.session.rejected());
        });
    }

    fn take(
        &mut self,
        message: Option<Result<wire::FromProxy, Status>>,
        published: Option<&Published>,
    ) -> Result<(), End> {
        let message = match message {
            Some(Ok(message)) => self.placed(message)?,
            None => return Err(End::Left("closed by the proxy".to_owned())),
            // Too large or no message at all: the proxy is still there and should hear why.
            Some(Err(status)) if matches!(status.code(), Code::OutOfRange | Code::Internal | Code::Unimplemented) => {
                return Err(End::Ended("malformed", status));
            }
            Some(Err(status)) => return Err(End::Left(status.message().to_owned())),
        };
        self.subscriptions_changed |= matches!(message.message, Some(FromProxy::Hello(_) | FromProxy::Subscribe(_)));
        let nothing = Default::default();
        let latest = published.map_or(&nothing, |published| &published.snapshot);
        let Reaction { replies, rejected, acknowledged: _, policies, owners_asked } =
            self.session.on_message(message, latest).map_err(|error| end_of(&error))?;
        for (name, why) in &rejected {
            events::rejected(self.session.node(), name, why);
        }
        self.unsent.extend(replies);
        if !owners_asked.is_empty() {
            self.owners_asked = owners_asked;
        }
        if let Some(report) = policies {
            self.take_report(reports::bounded(report));
        }
        Ok(())
    }

    /// The message, with a proxy in it that stands where its identity says.
    fn placed(&self, message: wire::FromProxy) -> Result<wire::FromProxy, End> {
        let Some(FromProxy::Hello(hello)) = message.message else { return Ok(message) };
        let placed = self
            .shared
            .authenticator
            .place(&self.identity, hello.node.unwrap_or_default(), |node| self.shared.zones.zone_of(node));
        let node = Some(placed.map_err(|refusal| End::Ended("refused", refusal.into()))?);
        Ok(wire::FromProxy { message: Some(FromProxy::Hello(wire::Hello { node, ..hello })) })
    }

    fn take_report(&self, states: Vec<wire::PolicyState>) {
        self.shared.trials.report(&self.session.node().proxy, &states);
        let Some(entry) = &self.entry else { return };
        let states = Arc::new(states);
        let before = entry.reports(Arc::clone(&states));
        events::policies_reported(self.session.node(), &before, &states);
    }
}

/// Whether a port of the Service is balanced by a module.
fn has_module(service: &Service) -> bool {
    service.spec.value.ports.iter().any(|port| port.policy.wasm().is_some())
}

fn end_of(error: &SessionError) -> End {
    let text = error.to_string();
    match error {
        SessionError::Protocol(_) => End::Ended("protocol", Status::failed_precondition(text)),
        SessionError::OutOfTurn(_) | SessionError::Malformed(_) => {
            End::Ended("malformed", Status::invalid_argument(text))
        }
        SessionError::TooMany => End::Ended("overload", Status::resource_exhausted(text)),
        SessionError::Diverged => End::Ended("diverged", Status::data_loss(text)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio_stream::wrappers::ReceiverStream;
    use wasmesh_core::{
        endpoint::{Conditions, Endpoint, EndpointId, EndpointSet, Hints},
        service::{Affinity, InternalTraffic, ServiceKind, ServiceSpec},
        version::Version,
    };
    use wasmesh_proto::PROTOCOL;
    use wasmesh_telemetry::metrics;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A proxy and a control plane with channels of one message between them.
    struct Joined {
        to_server: mpsc::Sender<Result<wire::FromProxy, Status>>,
        from_server: mpsc::Receiver<Result<wire::ToProxy, Status>>,
        streams: crate::server::Streams,
        _publish: watch::Sender<Option<Arc<Published>>>,
        _stop: watch::Sender<bool>,
    }

    impl Joined {
        fn to(published: Published) -> Self {
            let (publish, latest) = watch::channel(Some(Arc::new(published)));
            let (stop, stopping) = watch::channel(false);
            let (to_server, inbox) = mpsc::channel(1);
            let (outbox, from_server) = mpsc::channel(1);
            let streams = crate::server::Streams::default();
            let shared = Shared {
                name: "replica".to_owned(),
                latest,
                modules: Default::default(),
                trials: Default::default(),
                zones: Default::default(),
                owners: Default::default(),
                authenticator: crate::identity::Authenticator::Open,
                stream_life: Duration::from_secs(3600),
                encoder: Default::default(),
                streams: streams.clone(),
                metrics: metrics::install(),
                stopping,
            };
            tokio::spawn(Stream::new(Arc::new(shared), Identity::Claimed, ReceiverStream::new(inbox), outbox).run());
            Self { to_server, from_server, streams, _publish: publish, _stop: stop }
        }

        async fn say(&self, message: FromProxy) {
            let message = wire::FromProxy { message: Some(message) };
            let said = time::timeout(PATIENCE, self.to_server.send(Ok(message))).await;
            said.expect("the control plane does not read").unwrap();
        }

        async fn hear(&mut self) -> ToProxy {
            let heard = time::timeout(PATIENCE, self.from_server.recv()).await;
            heard.expect("the control plane says nothing").unwrap().unwrap().message.unwrap()
        }
    }

    fn hello(subscriptions: Vec<String>) -> FromProxy {
        FromProxy::Hello(wire::Hello { protocol: PROTOCOL, subscriptions, ..Default::default() })
    }

    fn subscribe(name: String) -> FromProxy {
        FromProxy::Subscribe(wire::Subscribe { add: vec![name], remove: Vec::new() })
    }

    fn published(services: impl IntoIterator<Item = Service>) -> Published {
        let named = services.into_iter().map(|service| (service.spec.value.name.clone(), Arc::new(service)));
        let snapshot: Snapshot = named.collect();
        Published { snapshot, version: Version(7), sequence: 1, at: std::time::Instant::now() }
    }

    fn service(name: &str, endpoints: EndpointSet) -> Service {
        let spec = ServiceSpec {
            name: name.parse().unwrap(),
            kind: ServiceKind::Headless,
            ports: Vec::new(),
            affinity: Affinity::None,
            internal_traffic: InternalTraffic::Cluster,
        };
        Service::new(spec, endpoints)
    }

    fn endpoint(id: u64) -> Endpoint {
        Endpoint {
            id: EndpointId(id),
            port: String::new(),
            address: ([127, 0, 0, 1], 1).into(),
            weight: 1,
            priority: 0,
            // Large, so that a few of them fill a message.
            zone: "z".repeat(300_000),
            node: String::new(),
            hostname: String::new(),
            labels: Default::default(),
            conditions: Conditions::default(),
            hints: Hints::default(),
        }
    }

    #[tokio::test]
    async fn the_proxy_is_heard_while_the_control_plane_has_much_to_say() {
        let large = |n: u64| service(&format!("a/large-{n}"), EndpointSet::new((n * 10..n * 10 + 4).map(endpoint)));
        let mut joined = Joined::to(published((0..8).map(large)));
        joined.say(hello((0..8).map(|n| format!("a/large-{n}")).collect())).await;
        // The proxy talks without listening; the control plane has more to send than there is room for.
        for number in 0..20 {
            joined.say(subscribe(format!("a/absent-{number}"))).await;
        }
        assert!(matches!(joined.hear().await, ToProxy::Welcome(_)));
        let mut parts = 0;
        loop {
            let ToProxy::Update(update) = joined.hear().await else { panic!("an Update expected") };
            parts += 1;
            if !update.more {
                break;
            }
        }
        assert!(parts > 4, "{parts}");
        assert_eq!(joined.streams.list().len(), 1);
    }

    #[tokio::test]
    async fn one_that_asks_much_and_does_not_listen_is_owed_one_answer() {
        let mut joined = Joined::to(published([]));
        joined.say(hello(Vec::new())).await;
        let asked = |number: u16| {
            let address = wire::SocketAddress { ip: vec![10, 0, 0, 1], port: number.into() };
            FromProxy::OwnersRequest(wire::OwnersRequest { addresses: vec![address] })
        };
        for number in 1..=50 {
            joined.say(asked(number)).await;
        }
        assert!(matches!(joined.hear().await, ToProxy::Welcome(_)));
        assert!(matches!(joined.hear().await, ToProxy::Update(_)));
        let (mut answers, mut last) = (0, 0);
        while last < 50 {
            let ToProxy::Owners(owners) = joined.hear().await else { panic!("Owners expected") };
            answers += 1;
            last = owners.addresses[0].address.as_ref().unwrap().port;
        }
        // The last but one may have been on its way when the last one was heard.
        assert!(answers <= 3, "{answers}");
    }

    /// Seconds that acknowledged snapshots were under way, in sum.
    fn propagation() -> f64 {
        let text = metrics::install().render();
        let sum = text.lines().find_map(|line| line.strip_prefix("wasmesh_control_plane_propagation_seconds_sum "));
        sum.map_or(0.0, |sum| sum.parse().unwrap())
    }

    #[tokio::test]
    async fn what_happened_before_a_proxy_came_is_no_delay_of_propagation() {
        let old = std::time::Instant::now()
            .checked_sub(Duration::from_secs(100))
            .expect("a machine that has run for a while");
        let mut joined = Joined::to(Published { at: old, ..published([]) });
        joined.say(hello(Vec::new())).await;
        assert!(matches!(joined.hear().await, ToProxy::Welcome(_)));
        let ToProxy::Update(update) = joined.hear().await else { panic!("an Update expected") };
        let ack = wire::Ack { nonce: update.nonce, checksum: update.checksum, rejected: Vec::new() };
        joined.say(FromProxy::Ack(ack)).await;
        for number in 0..3 {
            joined.say(subscribe(format!("a/{number}"))).await;
        }
        assert!(joined.streams.list()[0].acknowledged.is_some());
        assert!(propagation() < 100.0, "{}", propagation());
    }

    #[tokio::test]
    async fn a_proxy_that_is_behind_is_shown_as_it_is() {
        let mut joined = Joined::to(published([service("a/web", EndpointSet::default())]));
        joined.say(hello(vec!["a/one".to_owned()])).await;
        joined.say(subscribe("a/two".to_owned())).await;
        // What comes after it is read once it has been dealt with.
        joined.say(subscribe("a/two".to_owned())).await;
        joined.say(subscribe("a/two".to_owned())).await;
        assert!(matches!(joined.hear().await, ToProxy::Welcome(_)));
        let ToProxy::Update(_) = joined.hear().await else { panic!("an Update expected") };
        let [status] = &joined.streams.list()[..] else { panic!("one stream expected") };
        assert_eq!((status.subscriptions.len(), status.acknowledged), (2, None));
    }
}

//! Random Services from a small world, so that collisions happen all the time, and two ends of a stream joined by
//! queues.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use wasmesh_core::{
    candidates::Viewpoint,
    endpoint::{Conditions, Endpoint, EndpointId, EndpointSet, Hints},
    name::ServiceName,
    policy::BuiltinPolicy,
    service::{Affinity, AppProtocol, InternalTraffic, Service, ServiceKind, ServicePort, ServiceSpec, Transport},
    snapshot::Snapshot,
    table::Table,
};
use wasmesh_proto::{
    session::{
        client::ClientSession,
        encoder::Encoder,
        server::{ServerSession, SessionError},
    },
    wire::{self, to_proxy::Message as ToProxy},
};

pub(crate) const NAMES: [&str; 6] = ["a/web", "a/db", "b/web", "b/api", "c/dns", "c/cart"];
const VIPS: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"];

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }

    pub(crate) fn name(&mut self) -> ServiceName {
        NAMES[self.below(NAMES.len())].parse().unwrap()
    }
}

pub(crate) fn port() -> ServicePort {
    ServicePort {
        name: "http".to_owned(),
        port: 80,
        transport: Transport::Tcp,
        protocol: AppProtocol::Http1,
        policy: BuiltinPolicy::LeastRequest.into(),
    }
}

pub(crate) fn endpoint(id: u64) -> Endpoint {
    let octet = u8::try_from(id % 250).unwrap();
    Endpoint {
        id: EndpointId(id),
        port: "http".to_owned(),
        address: ([127, 1, 0, octet], 8080).into(),
        weight: 1,
        priority: 0,
        zone: String::new(),
        node: if id.is_multiple_of(2) { "even".to_owned() } else { "odd".to_owned() },
        hostname: String::new(),
        labels: BTreeMap::new(),
        conditions: Conditions::default(),
        hints: Hints::default(),
    }
}

pub(crate) fn service(name: &str, vips: &[&str], endpoints: &[u64]) -> Arc<Service> {
    let spec = ServiceSpec {
        name: name.parse().unwrap(),
        kind: ServiceKind::ClusterIp { vips: vips.iter().map(|vip| vip.parse().unwrap()).collect() },
        ports: vec![port()],
        affinity: Affinity::None,
        internal_traffic: InternalTraffic::Cluster,
    };
    Arc::new(Service::new(spec, EndpointSet::new(endpoints.iter().map(|id| endpoint(*id)))))
}

pub(crate) fn snapshot(services: &[Arc<Service>]) -> Snapshot {
    services.iter().map(|service| (service.spec.value.name.clone(), Arc::clone(service))).collect()
}

/// A few random edits. No address ever belongs to two Services, as the registry promises.
pub(crate) fn edit(snapshot: &Snapshot, random: &mut Random) -> Snapshot {
    let mut next = snapshot.clone();
    for _ in 0..=random.below(3) {
        let name = random.name();
        if random.chance(4) {
            next.remove(&name);
            continue;
        }
        let taken: BTreeSet<IpAddr> = next
            .iter()
            .filter(|(other, _)| **other != name)
            .flat_map(|(_, service)| service.spec.value.vips().to_vec())
            .collect();
        let mut vips: Vec<IpAddr> =
            (0..random.below(3)).map(|_| VIPS[random.below(VIPS.len())].parse().unwrap()).collect();
        vips.dedup();
        vips.retain(|vip| !taken.contains(vip));
        let local = random.chance(4);
        let spec = ServiceSpec {
            name: name.clone(),
            kind: ServiceKind::ClusterIp { vips },
            ports: vec![port()],
            affinity: Affinity::None,
            internal_traffic: if local { InternalTraffic::Local } else { InternalTraffic::Cluster },
        };
        let endpoints = (0..random.below(5)).map(|_| endpoint(random.next() % 8));
        let service = Service::new(spec, EndpointSet::new(endpoints.collect::<Vec<_>>()));
        next.insert(name, Arc::new(service));
    }
    next
}

/// What a proxy at `viewpoint` must hold of `snapshot`: entry versions, and endpoint versions where subscribed.
pub(crate) fn expected(
    snapshot: &Snapshot,
    viewpoint: &Viewpoint,
    subscriptions: &BTreeSet<ServiceName>,
) -> BTreeMap<ServiceName, (u64, Option<u64>)> {
    let versions = |(name, service): (&ServiceName, &Arc<Service>)| {
        let endpoints = subscriptions.contains(name).then(|| service.endpoints.version().0);
        (name.clone(), (service.entry_version(viewpoint).0, endpoints))
    };
    snapshot.iter().map(versions).collect()
}

pub(crate) fn held(table: &Table) -> BTreeMap<ServiceName, (u64, Option<u64>)> {
    table
        .iter()
        .map(|(name, held)| {
            let versions = held.versions();
            (name.clone(), (versions.entry.0, versions.endpoints.map(|version| version.0)))
        })
        .collect()
}

/// A proxy and the replica that it is connected to, if any, with the messages that are under way.
pub(crate) struct Pair {
    pub(crate) client: ClientSession,
    pub(crate) server: Option<ServerSession>,
    pub(crate) to_server: VecDeque<wire::FromProxy>,
    pub(crate) to_client: VecDeque<wire::ToProxy>,
    pub(crate) node: wire::Node,
    /// How often the control plane asked what the proxy holds, and how often it ended the stream over that.
    pub(crate) compared: usize,
    pub(crate) diverged: usize,
    /// Whether something has come twice on this stream, and how often a stream was ended on which nothing had.
    has_doubled: bool,
    pub(crate) ended: usize,
}

impl Pair {
    pub(crate) fn new(node: &str) -> Self {
        Self {
            client: ClientSession::default(),
            server: None,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            node: wire::Node { proxy: "a/pod".to_owned(), node: node.to_owned(), ..Default::default() },
            compared: 0,
            diverged: 0,
            has_doubled: false,
            ended: 0,
        }
    }

    pub(crate) fn viewpoint(&self) -> Viewpoint {
        Viewpoint { node: self.node.node.clone(), zone: self.node.zone.clone() }
    }

    pub(crate) fn connect(&mut self) {
        self.disconnect();
        self.server = Some(ServerSession::new("replica"));
        self.to_server.push_back(self.client.hello(self.node.clone()));
    }

    /// Loses whatever is under way.
    pub(crate) fn disconnect(&mut self) {
        self.has_doubled = false;
        self.server = None;
        self.to_server.clear();
        self.to_client.clear();
    }

    pub(crate) fn poll(&mut self, latest: &Snapshot, encoder: &Encoder) {
        if let Some(server) = &mut self.server {
            self.to_client.extend(server.poll(latest, encoder));
        }
    }

    /// Loses one item or removal of the next message to the proxy, if there is one to lose.
    pub(crate) fn corrupt(&mut self, random: &mut Random) {
        let Some(ToProxy::Update(update)) = self.to_client.front_mut().and_then(|message| message.message.as_mut())
        else {
            return;
        };
        if !update.items.is_empty() {
            update.items.remove(random.below(update.items.len()));
        } else if !update.removed.is_empty() {
            update.removed.remove(random.below(update.removed.len()));
        }
    }

    /// Delivers one message to the control plane. If that ends the stream because repair did not help, the proxy comes
    /// back.
    pub(crate) fn deliver_up(&mut self, latest: &Snapshot) {
        self.try_deliver_up(latest).unwrap();
    }

    fn try_deliver_up(&mut self, latest: &Snapshot) -> Result<(), SessionError> {
        let (Some(server), Some(message)) = (&mut self.server, self.to_server.pop_front()) else { return Ok(()) };
        match server.on_message(message, latest) {
            Ok(reaction) => {
                let asks = |message: &&wire::ToProxy| matches!(message.message, Some(ToProxy::ChecksumsRequest(_)));
                self.compared += reaction.replies.iter().filter(asks).count();
                self.to_client.extend(reaction.replies);
            }
            Err(SessionError::Diverged) => {
                self.diverged += 1;
                self.connect();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Delivers one message to the proxy.
    pub(crate) fn deliver_down(&mut self) {
        let Some(message) = self.to_client.pop_front() else { return };
        let reaction = self.client.on_message(message).unwrap();
        self.to_server.extend(reaction.replies);
    }

    /// Has the next message to the control plane come twice, now and then.
    pub(crate) fn maybe_twice_up(&mut self, random: &mut Random) {
        if random.chance(12)
            && let Some(message) = self.to_server.front().cloned()
        {
            self.to_server.push_front(message);
            self.has_doubled = true;
        }
    }

    /// Has the next message to the proxy come twice, now and then.
    pub(crate) fn maybe_twice_down(&mut self, random: &mut Random) {
        if random.chance(12)
            && let Some(message) = self.to_client.front().cloned()
        {
            self.to_client.push_front(message);
            self.has_doubled = true;
        }
    }

    /// Delivers one message to the control plane, which may end the stream over it.
    pub(crate) fn deliver_up_or_end(&mut self, latest: &Snapshot) {
        if self.try_deliver_up(latest).is_err() {
            self.end();
        }
    }

    /// Delivers one message to the proxy, which may end the stream over it.
    pub(crate) fn deliver_down_or_end(&mut self) {
        let Some(message) = self.to_client.pop_front() else { return };
        match self.client.on_message(message) {
            Ok(reaction) => self.to_server.extend(reaction.replies),
            Err(_) => self.end(),
        }
    }

    /// One of the two ends the stream over what the other has said.
    fn end(&mut self) {
        self.ended += usize::from(!self.has_doubled);
        self.disconnect();
    }

    /// Delivers everything until nobody has anything to say. Returns how many messages went down.
    pub(crate) fn settle(&mut self, latest: &Snapshot, encoder: &Encoder) -> usize {
        let mut delivered = 0;
        for _ in 0..10_000 {
            self.poll(latest, encoder);
            if self.to_server.is_empty() && self.to_client.is_empty() {
                return delivered;
            }
            delivered += self.to_client.len();
            while !self.to_client.is_empty() {
                self.deliver_down();
            }
            self.deliver_up(latest);
        }
        panic!("the two ends never come to rest");
    }

    pub(crate) fn subscribe(&mut self, name: &ServiceName) {
        self.to_server.extend(self.client.subscribe(name));
    }

    pub(crate) fn unsubscribe(&mut self, name: &ServiceName) {
        self.to_server.extend(self.client.unsubscribe(std::slice::from_ref(name)));
    }
}

//! Which proxies are connected and how far each has come.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use wasmesh_core::{name::ServiceName, version::Version};
use wasmesh_proto::{
    session::{Rejected, server::Holding},
    wire,
};

use crate::policies::reports::Reporter;

/// The connected proxies.
#[derive(Clone, Default)]
pub struct Streams {
    next: Arc<AtomicU64>,
    /// Counts what happens that bears on policies.
    revision: Arc<AtomicU64>,
    connected: Arc<Mutex<Connected>>,
}

#[derive(Default)]
struct Connected {
    streams: BTreeMap<u64, StreamStatus>,
    /// How many of them are subscribed to each Service that somebody is subscribed to.
    subscribers: HashMap<ServiceName, u32>,
}

/// How one proxy stands.
#[derive(Clone)]
pub struct StreamStatus {
    /// Who it is.
    pub node: wire::Node,
    /// Since when.
    pub since: Instant,
    /// The newest snapshot it has acknowledged in full, up to what it rejected: its sequence here and its version.
    pub acknowledged: Option<(u64, Version)>,
    /// The Services whose endpoints it gets.
    pub subscriptions: Arc<BTreeSet<ServiceName>>,
    /// What it has of what Services declare, as far as it is known.
    pub holding: Holding,
    /// What it has said last of its policies.
    pub policies: Arc<Vec<wire::PolicyState>>,
    /// What it will not take.
    pub rejected: BTreeMap<ServiceName, Rejected>,
}

impl Streams {
    /// All of them, in the order in which they came.
    pub fn list(&self) -> Vec<StreamStatus> {
        self.lock().streams.values().cloned().collect()
    }

    /// Grows with whatever happens that bears on what proxies make of policies. Read before [`list`](Self::list), it is the
    /// same again only if that is.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Adds a proxy for as long as the entry lives.
    pub(super) fn enter(&self, node: wire::Node) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let status = StreamStatus {
            node,
            since: Instant::now(),
            acknowledged: None,
            subscriptions: Arc::default(),
            holding: Holding::default(),
            policies: Arc::default(),
            rejected: BTreeMap::new(),
        };
        self.lock().streams.insert(id, status);
        self.has_changed();
        Entry { streams: self.clone(), id }
    }

    /// How many proxies are subscribed to each of these Services.
    pub(super) fn subscribers(&self, services: Vec<ServiceName>) -> Vec<(ServiceName, u32)> {
        let connected = self.lock();
        let counted = services.into_iter().map(|service| {
            let count = connected.subscribers.get(&service).copied().unwrap_or_default();
            (service, count)
        });
        counted.collect()
    }

    /// Something that bears on policies is another than before.
    fn has_changed(&self) {
        self.revision.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Connected> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamStatus {
    /// Whether it has acknowledged the latest snapshot, whose sequence number this is.
    pub fn is_current(&self, latest: Option<u64>) -> bool {
        latest.is_some() && self.acknowledged.map(|(sequence, _)| sequence) == latest
    }

    /// The proxy as far as policies go.
    pub fn reporter(&self) -> Reporter<'_> {
        Reporter {
            proxy: &self.node.proxy,
            subscriptions: &self.subscriptions,
            holding: &self.holding,
            states: &self.policies,
        }
    }
}

impl Connected {
    fn subscribe(&mut self, id: u64, services: BTreeSet<ServiceName>) {
        let Some(status) = self.streams.get_mut(&id) else { return };
        for new in services.difference(&status.subscriptions) {
            *self.subscribers.entry(new.clone()).or_default() += 1;
        }
        for gone in status.subscriptions.difference(&services) {
            if let Some(count) = self.subscribers.get_mut(gone) {
                *count -= 1;
                if *count == 0 {
                    self.subscribers.remove(gone);
                }
            }
        }
        status.subscriptions = Arc::new(services);
    }
}

/// One proxy's place in the list; left when dropped, however the stream ends.
pub(super) struct Entry {
    streams: Streams,
    id: u64,
}

impl Entry {
    pub(super) fn update(&self, change: impl FnOnce(&mut StreamStatus)) {
        if let Some(status) = self.streams.lock().streams.get_mut(&self.id) {
            change(status);
        }
    }

    /// Makes these the Services whose endpoints the proxy gets.
    pub(super) fn subscribe(&self, services: BTreeSet<ServiceName>) {
        self.streams.lock().subscribe(self.id, services);
        self.streams.has_changed();
    }

    /// The proxy has this of what Services declare.
    pub(super) fn holds(&self, holding: Holding) {
        let mut is_news = false;
        self.update(|status| {
            is_news = !status.holding.is_same(&holding);
            status.holding = holding;
        });
        if is_news {
            self.streams.has_changed();
        }
    }

    /// The proxy says this of its policies. Returns what it has said before.
    pub(super) fn reports(&self, states: Arc<Vec<wire::PolicyState>>) -> Arc<Vec<wire::PolicyState>> {
        let mut before = Arc::default();
        self.update(|status| before = std::mem::replace(&mut status.policies, states));
        self.streams.has_changed();
        before
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut connected = self.streams.lock();
        connected.subscribe(self.id, BTreeSet::new());
        connected.streams.remove(&self.id);
        drop(connected);
        self.streams.has_changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscribers_are_counted_for_as_long_as_they_are_there() {
        let name = |name: &str| name.parse::<ServiceName>().unwrap();
        let set = |names: &[&str]| names.iter().map(|it| name(it)).collect::<BTreeSet<_>>();
        let streams = Streams::default();
        let counts = || {
            let counts = streams.subscribers(vec![name("a/x"), name("a/y")]);
            counts.into_iter().map(|(_, count)| count).collect::<Vec<_>>()
        };
        let (one, two) = (streams.enter(wire::Node::default()), streams.enter(wire::Node::default()));
        one.subscribe(set(&["a/x", "a/y"]));
        two.subscribe(set(&["a/x"]));
        assert_eq!(counts(), [2, 1]);
        one.subscribe(set(&["a/y"]));
        assert_eq!(counts(), [1, 1]);
        drop(one);
        assert_eq!(counts(), [1, 0]);
        drop(two);
        assert!(streams.lock().subscribers.is_empty());
    }
}

//! Which proxies are connected and how far each has come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use wasmesh_core::{name::ServiceName, version::Version};
use wasmesh_proto::{session::Rejected, wire};

/// The connected proxies.
#[derive(Clone, Default)]
pub struct Streams {
    next: Arc<AtomicU64>,
    connected: Arc<Mutex<BTreeMap<u64, StreamStatus>>>,
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
    /// What it has said last of its policies.
    pub policies: Arc<Vec<wire::PolicyState>>,
    /// What it will not take.
    pub rejected: BTreeMap<ServiceName, Rejected>,
}

impl Streams {
    /// All of them, in the order in which they came.
    pub fn list(&self) -> Vec<StreamStatus> {
        self.lock().values().cloned().collect()
    }

    /// Adds a proxy for as long as the entry lives.
    pub(super) fn enter(&self, node: wire::Node) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let status = StreamStatus {
            node,
            since: Instant::now(),
            acknowledged: None,
            subscriptions: Arc::default(),
            policies: Arc::default(),
            rejected: BTreeMap::new(),
        };
        self.lock().insert(id, status);
        Entry { streams: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, StreamStatus>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamStatus {
    /// Whether it has acknowledged the latest snapshot, whose sequence number this is.
    pub fn is_current(&self, latest: Option<u64>) -> bool {
        latest.is_some() && self.acknowledged.map(|(sequence, _)| sequence) == latest
    }
}

/// One proxy's place in the list; left when dropped, however the stream ends.
pub(super) struct Entry {
    streams: Streams,
    id: u64,
}

impl Entry {
    pub(super) fn update(&self, change: impl FnOnce(&mut StreamStatus)) {
        if let Some(status) = self.streams.lock().get_mut(&self.id) {
            change(status);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.id);
    }
}

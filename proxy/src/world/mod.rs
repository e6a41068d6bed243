//! What the proxy knows, as one immutable value: the table, and for every used Service the balancers over its endpoints.
//!
//! What must agree travels together: a worker that sees a table also sees the balancers made from exactly that table.

mod builder;
mod late;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;
use wasmesh_core::{
    affinity::Pin,
    candidates::Viewpoint,
    endpoint::EndpointId,
    load::{EndpointLoad, TotalLoad},
    name::ServiceName,
    name_map::NameMap,
    policy::Balancer,
    service::Family,
    table::Table,
};

use crate::limits::Waiting;
pub use builder::WorldBuilder;
pub use late::Late;

/// The proxy's knowledge at one moment.
#[derive(Clone, Default)]
pub struct World {
    /// Services, addresses, reachability.
    pub table: Table,
    /// The Services whose endpoints are held.
    pub live: NameMap<Arc<LiveService>>,
    /// Where this proxy stands; its candidates were chosen from there.
    pub viewpoint: Viewpoint,
    /// Whether any control plane has ever sent a complete state.
    pub complete: bool,
    /// Counts worlds.
    pub generation: u64,
}

/// Where workers see worlds come.
pub type Worlds = watch::Receiver<Arc<World>>;

type Pins = HashMap<(String, Family), Arc<Pin>>;

/// A Service that is in use.
pub struct LiveService {
    /// The balancers of each port, by its index: IPv4, IPv6. `None` where there is no candidate.
    ports: Vec<[Option<Arc<Balancer>>; 2]>,
    /// The load of every endpoint, candidate or not, in the order of the endpoint set.
    loads: Vec<(EndpointId, Arc<EndpointLoad>)>,
    /// What is under way to each port by name; outlives changes.
    totals: HashMap<String, Arc<TotalLoad>>,
    /// Where its clients are pinned, for each port that has ever been there, by name and family; outlives changes.
    pins: Arc<Mutex<Pins>>,
    /// When it was last used, in microseconds of the process's clock; outlives changes of its endpoints.
    last_used_us: Arc<AtomicU64>,
    /// Its requests that wait for their answer; outlives changes.
    waiting: Waiting,
}

impl LiveService {
    /// The balancer of a port over one family.
    pub fn balancer(&self, port: usize, family: Family) -> Option<&Arc<Balancer>> {
        let [v4, v6] = self.ports.get(port)?;
        match family {
            Family::V4 => v4.as_ref(),
            Family::V6 => v6.as_ref(),
        }
    }

    /// The pin of a port over one family. Takes a lock: for when a cell is made, not for a request.
    pub fn pin(&self, port_name: &str, family: Family) -> Arc<Pin> {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(pins.entry((port_name.to_owned(), family)).or_default())
    }

    /// The load of every endpoint.
    pub fn loads(&self) -> &[(EndpointId, Arc<EndpointLoad>)] {
        &self.loads
    }

    /// What is under way to all endpoints of a port.
    pub fn total(&self, port_name: &str) -> Option<&Arc<TotalLoad>> {
        self.totals.get(port_name)
    }

    /// Says that it is in use.
    pub fn touch(&self, now_us: u64) {
        // Written at most once a second: all workers share the line.
        if now_us.saturating_sub(self.last_used_us.load(Ordering::Relaxed)) > 1_000_000 {
            self.last_used_us.store(now_us, Ordering::Relaxed);
        }
    }

    /// Its requests that wait for their answer.
    pub fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// When it was last used, to within a second.
    pub fn last_used_us(&self) -> u64 {
        self.last_used_us.load(Ordering::Relaxed)
    }
}

/// Asks for a Service's endpoints. The answer is a later world in which the Service is live.
#[derive(Debug, Clone)]
pub struct Subscribe(pub ServiceName);

//! Endpoints as a sidecar has them: equal weights, two zones, and live load of which some have more than others.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use wasmesh_core::{
    endpoint::{Conditions, Endpoint, EndpointId, Hints},
    load::{EndpointLoad, TotalLoad},
    policy::Candidate,
};
use wasmesh_policy_host::{EndpointView, Instance, UpdateError};

use crate::policy::live::{Live, view};

/// When it all happens, in milliseconds. Nothing ages while it is measured.
pub(super) const NOW_MS: u64 = 1_000_000;

/// The load of an endpoint: requests under way, at most.
const MOST_IN_FLIGHT: u64 = 8;

/// The list, and what the mesh knows of it.
pub(super) struct Endpoints {
    candidates: Arc<[Candidate]>,
    total: Arc<TotalLoad>,
}

impl Endpoints {
    /// So many, the same each time.
    pub(super) fn new(count: u32) -> Self {
        let total = Arc::default();
        Self { candidates: (0..count).map(|number| candidate(number, &total)).collect(), total }
    }

    /// What the built-in policies balance over.
    pub(super) fn candidates(&self) -> &Arc<[Candidate]> {
        &self.candidates
    }

    /// The list as `update` gives it.
    pub(super) fn views(&self) -> Vec<EndpointView<'_>> {
        self.candidates.iter().map(|candidate| view(candidate, &[], NOW_MS * 1_000)).collect()
    }

    /// Gives the list to an instance for the first time.
    pub(super) fn give(&self, instance: &mut Instance, views: &[EndpointView<'_>]) -> Result<(), UpdateError> {
        let load = Live { candidates: Arc::clone(&self.candidates), total: Arc::clone(&self.total), peers: 1 };
        instance.update(1, NOW_MS, views, Box::new(load))
    }
}

fn candidate(number: u32, total: &Arc<TotalLoad>) -> Candidate {
    let [_, high, middle, low] = number.to_be_bytes();
    let is_even = number.is_multiple_of(2);
    // Spread over all bits, as identities are.
    let id = u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let endpoint = Endpoint {
        id: EndpointId(id),
        port: "http".to_owned(),
        address: SocketAddr::from(([10, high, middle, low], 8080)),
        weight: 1,
        priority: 0,
        zone: if is_even { "zone-a" } else { "zone-b" }.to_owned(),
        node: format!("node-{}", number % 16),
        hostname: String::new(),
        labels: BTreeMap::new(),
        conditions: Conditions::default(),
        hints: Hints::default(),
    };
    let load = EndpointLoad::counting_towards(total);
    load.restore(NOW_MS * 1_000 / 2);
    (0..(id >> 32) % MOST_IN_FLIGHT).for_each(|_| load.begin());
    load.observe(500 + (id >> 40) % 5_000, NOW_MS * 1_000);
    Candidate { endpoint: Arc::new(endpoint), load: Arc::new(load) }
}

//! What a policy may ask of endpoints while it chooses.

use std::sync::Arc;

use wasmesh_core::{
    load::{EndpointLoad, TotalLoad},
    policy::Candidate,
};
use wasmesh_policy_host::{EndpointView, Health, Stats};

/// Of a thousand requests: an endpoint that fails more is degraded.
const DEGRADED: u32 = 200;

/// The load of a list, as one sidecar sees it. What endpoints report of themselves is in the slot of the want's number.
pub(super) struct Live {
    pub(super) candidates: Arc<[Candidate]>,
    pub(super) total: Arc<TotalLoad>,
    /// How many sidecars there are.
    pub(super) peers: u32,
}

impl Live {
    fn load(&self, endpoint: u32) -> Option<&EndpointLoad> {
        self.candidates.get(endpoint as usize).map(|candidate| &*candidate.load)
    }
}

impl Stats for Live {
    fn in_flight(&self, endpoint: u32) -> u32 {
        self.load(endpoint).map_or(0, EndpointLoad::in_flight)
    }

    fn total_in_flight(&self) -> u32 {
        self.total.in_flight()
    }

    fn latency_us(&self, endpoint: u32, now_ms: u64) -> u32 {
        self.load(endpoint).map_or(0, |load| load.latency_us(now_ms * 1_000).ceil() as u32)
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        self.load(endpoint).map_or(0, |load| load.health().failure_rate())
    }

    fn available(&self, endpoint: u32, now_ms: u64) -> bool {
        self.load(endpoint).is_some_and(|load| !load.is_withdrawn() && !load.health().is_ejected(now_ms * 1_000))
    }

    fn reported(&self, endpoint: u32, want: u32, now_ms: u64) -> Option<u32> {
        self.load(endpoint)?.reported(want as usize, now_ms * 1_000)
    }

    fn peers(&self) -> u32 {
        self.peers
    }
}

/// A candidate as `update` gives it.
pub(super) fn view<'a>(candidate: &'a Candidate, labels: &'a [(&'a str, &'a str)], now_us: u64) -> EndpointView<'a> {
    let endpoint = &*candidate.endpoint;
    let health = candidate.load.health();
    let is_degraded = health.is_ejected(now_us) || health.failure_rate() >= DEGRADED;
    EndpointView {
        id: endpoint.id.0,
        address: endpoint.address,
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: &endpoint.zone,
        node: &endpoint.node,
        health: if is_degraded { Health::Degraded } else { Health::Healthy },
        ready_ms: candidate.load.ready_us() / 1000,
        labels,
    }
}

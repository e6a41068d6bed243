//! Live load as policies see it.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use wasmesh_core::{load::TotalLoad, policy::Candidate};
use wasmesh_policy_host::Stats;

/// The load of the endpoints of one list, as this proxy sees it.
pub struct LiveStats {
    /// The list.
    pub candidates: Arc<[Candidate]>,
    /// What is under way to all of them.
    pub total: Option<Arc<TotalLoad>>,
    /// Where what endpoints report is kept, by the plan's wants.
    pub slots: Box<[Option<usize>]>,
    /// Proxies over the same endpoints.
    pub peers: Arc<AtomicU32>,
}

impl LiveStats {
    fn candidate(&self, endpoint: u32) -> Option<&Candidate> {
        self.candidates.get(endpoint as usize)
    }
}

impl Stats for LiveStats {
    fn in_flight(&self, endpoint: u32) -> u32 {
        self.candidate(endpoint).map_or(0, |candidate| candidate.load.in_flight())
    }

    fn total_in_flight(&self) -> u32 {
        self.total.as_ref().map_or(0, |total| total.in_flight())
    }

    fn latency_us(&self, endpoint: u32, now_ms: u64) -> u32 {
        // Rounded up: a sample, however small, is not none.
        self.candidate(endpoint).map_or(0, |candidate| candidate.load.latency_us(now_ms * 1_000).ceil() as u32)
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        self.candidate(endpoint).map_or(0, |candidate| candidate.load.health().failure_rate())
    }

    fn available(&self, endpoint: u32, now_ms: u64) -> bool {
        self.candidate(endpoint).is_some_and(|candidate| {
            !candidate.load.is_withdrawn() && !candidate.load.health().is_ejected(now_ms * 1_000)
        })
    }

    fn reported(&self, endpoint: u32, want: u32, now_ms: u64) -> Option<u32> {
        let slot = (*self.slots.get(want as usize)?)?;
        self.candidate(endpoint)?.load.reported(slot, now_ms * 1_000)
    }

    fn peers(&self) -> u32 {
        self.peers.load(Ordering::Relaxed).max(1)
    }
}

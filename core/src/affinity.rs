//! Session affinity: requests to a Service stay on one endpoint while it lives and keeps being used.
//!
//! Kubernetes pins by client address. A sidecar has one client, its own pod, so there is one pin per Service port and
//! family, shared by all workers.

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{endpoint::EndpointId, policy::Candidate};

/// The endpoint that a client is pinned to. Times are microseconds of any monotonic clock.
///
/// The two numbers are not read as one: a race between two workers that pin at the same moment leaves one of the two
/// endpoints pinned, which is all that is asked of it.
#[derive(Debug, Default)]
pub struct Pin {
    /// 0 before the first pin.
    endpoint: AtomicU64,
    renewed_us: AtomicU64,
}

impl Pin {
    /// The pinned endpoint, unless the pin has not been renewed for longer than `timeout_us`.
    pub fn current(&self, timeout_us: u64, now_us: u64) -> Option<EndpointId> {
        let id = self.endpoint.load(Ordering::Relaxed);
        let idle = now_us.saturating_sub(self.renewed_us.load(Ordering::Relaxed));
        (id != 0 && idle <= timeout_us).then_some(EndpointId(id))
    }

    /// Whether there has ever been a pin.
    pub fn is_fresh(&self) -> bool {
        self.endpoint.load(Ordering::Relaxed) == 0
    }

    /// Pins, or renews the pin.
    pub fn set(&self, endpoint: EndpointId, now_us: u64) {
        self.renewed_us.store(now_us, Ordering::Relaxed);
        self.endpoint.store(endpoint.0, Ordering::Relaxed);
    }
}

/// Where a client begins: the same candidate for the same client, so that a restart keeps the session. By rendezvous
/// hashing (Thaler and Ravishankar, 1998), so that it depends on no order and moves only when its candidate goes.
pub fn first_choice(client: u64, candidates: &[Candidate]) -> Option<usize> {
    let rank = |index: &usize| xxh3_64_with_seed(&candidates[*index].endpoint.id.0.to_le_bytes(), client);
    (0..candidates.len()).filter(|index| !candidates[*index].load.is_withdrawn()).max_by_key(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_lasts_as_long_as_it_is_renewed() {
        let pin = Pin::default();
        assert!(pin.is_fresh() && pin.current(10, 0).is_none());
        pin.set(EndpointId(7), 100);
        assert_eq!(pin.current(10, 110), Some(EndpointId(7)));
        assert_eq!(pin.current(10, 111), None);
        pin.set(EndpointId(7), 111);
        assert_eq!(pin.current(10, 120), Some(EndpointId(7)));
        assert!(!pin.is_fresh());
    }
}

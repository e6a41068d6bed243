//! How much of what went to each endpoint has failed lately: a moving average of reports that is forgotten with time.

use wasmesh_policy::Endpoint;

use crate::{Outcome, Report};

/// All requests failed.
pub const ALL: u64 = 1 << 16;

/// One in so many is what a single report counts for.
const REPORTS: u64 = 8;

/// The failures of every endpoint of a list.
#[derive(Debug)]
pub struct Penalties {
    half_life_ms: u64,
    /// By index: the endpoint's id, and what is known of it.
    endpoints: Vec<(u64, Penalty)>,
}

impl Penalties {
    /// Without new reports half of what is known is forgotten within so many milliseconds, at least 1.
    pub fn new(half_life_ms: u64) -> Self {
        Self { half_life_ms: half_life_ms.max(1), endpoints: Vec::new() }
    }

    /// Another list from now on. Who stays in it keeps its penalty.
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        self.endpoints.sort_unstable_by_key(|(id, _)| *id);
        let known = |endpoint: &Endpoint| {
            let found = self.endpoints.binary_search_by_key(&endpoint.id, |(id, _)| *id).ok();
            (endpoint.id, found.map(|at| self.endpoints[at].1).unwrap_or_default())
        };
        self.endpoints = endpoints.iter().map(known).collect();
    }

    /// Learns from a report.
    pub fn observe(&mut self, report: &Report) {
        // Whoever went away first says nothing about the endpoint.
        if report.outcome.contains(Outcome::CANCELLED) {
            return;
        }
        let failed = report.outcome.intersects(Outcome::TRANSPORT_ERROR | Outcome::SERVER_ERROR | Outcome::TIMEOUT);
        if let Some((_, penalty)) = self.endpoints.iter_mut().find(|(id, _)| *id == report.endpoint_id) {
            penalty.observe(failed, report.now_ms, self.half_life_ms);
        }
    }

    /// The part of recent requests to the endpoint at this index that failed, of [`ALL`]; 0 if there is no such endpoint.
    pub fn of(&self, index: u32, now_ms: u64) -> u64 {
        self.endpoints.get(index as usize).map_or(0, |(_, penalty)| penalty.now(now_ms, self.half_life_ms))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Penalty {
    /// Of [`ALL`], as of `at_ms`.
    rate: u64,
    at_ms: u64,
}

impl Penalty {
    /// Takes a report into the average.
    fn observe(&mut self, failed: bool, now_ms: u64, half_life_ms: u64) {
        let rate = self.now(now_ms, half_life_ms);
        let sample = if failed { ALL } else { 0 };
        *self = Self { rate: rate - rate / REPORTS + sample / REPORTS, at_ms: now_ms.max(self.at_ms) };
    }

    /// Of [`ALL`]. Halved with each half-life, and in a straight line between two.
    fn now(self, now_ms: u64, half_life_ms: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        let halvings = elapsed / half_life_ms;
        if halvings > 16 {
            return 0;
        }
        let rate = self.rate >> halvings;
        rate - rate * (elapsed % half_life_ms) / (2 * half_life_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Penalty};

    const HALF_LIFE: u64 = 1_000;

    #[test]
    fn failures_add_up_and_successes_make_up_for_them() {
        let mut penalty = Penalty::default();
        (0..50).for_each(|_| penalty.observe(true, 0, HALF_LIFE));
        assert!(penalty.now(0, HALF_LIFE) > ALL * 9 / 10 && penalty.now(0, HALF_LIFE) <= ALL);
        (0..50).for_each(|_| penalty.observe(false, 0, HALF_LIFE));
        assert!(penalty.now(0, HALF_LIFE) < ALL / 100);
    }

    #[test]
    fn time_forgets() {
        let mut penalty = Penalty::default();
        (0..50).for_each(|_| penalty.observe(true, 5_000, HALF_LIFE));
        let full = penalty.now(5_000, HALF_LIFE);
        assert_eq!(penalty.now(6_000, HALF_LIFE), full / 2);
        assert!(penalty.now(5_500, HALF_LIFE) < full && penalty.now(5_500, HALF_LIFE) > full / 2);
        assert_eq!(penalty.now(u64::MAX, HALF_LIFE), 0);
        assert_eq!(penalty.now(0, HALF_LIFE), full, "a clock that stands still behind us");
    }
}

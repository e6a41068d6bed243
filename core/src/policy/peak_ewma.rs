//! Two random choices by expected latency, as Finagle's and Linkerd's default balancers do.
//!
//! A member's cost is its average latency times the requests it would then have under way (Finagle,
//! `com.twitter.finagle.loadbalancer.PeakEwma`; tower, `load::PeakEwma`).

use crate::policy::{
    PickRequest,
    draw::{Draw, mix},
    members::Members,
};

/// The cost of a member that has an unanswered request and no latency yet, above every real one (Finagle's `Penalty`).
const UNPROVEN: f64 = 1e15;

#[derive(Debug)]
pub(super) struct PeakEwma {
    draw: Draw,
    mean_weight: f64,
}

impl PeakEwma {
    pub(super) fn new(members: &Members) -> Self {
        let total: f64 = (0..members.len()).map(|position| members.weight(position) as f64).sum();
        Self { draw: Draw::new(members), mean_weight: total / members.len() as f64 }
    }

    pub(super) fn choose(&self, members: &Members, request: &PickRequest<'_>) -> usize {
        let (first, second) = self.draw_two(request.random);
        if !members.is_usable(second, request) {
            return first;
        }
        let is_better = || self.cost(members, second, request.now_us) < self.cost(members, first, request.now_us);
        if !members.is_usable(first, request) || is_better() { second } else { first }
    }

    /// Latencies are hardly ever equal, so of two members that are always drawn together the faster would get all.
    /// Where weights differ, the same member may therefore be drawn twice: then it is the weights that limit shares.
    fn draw_two(&self, random: u64) -> (usize, usize) {
        if self.draw.is_weighted() {
            (self.draw.one(random), self.draw.one(mix(random)))
        } else {
            self.draw.pair(random)
        }
    }

    /// The latency to expect. Requests under way count in proportion to weight; the latency itself does not, since
    /// weights already decide how often a member is drawn.
    ///
    /// A member without samples is tried with one request at once, because nothing else would tell how good it is, and
    /// with no second one until the first is answered: a new endpoint that hangs costs each proxy one request.
    fn cost(&self, members: &Members, position: usize, now_us: u64) -> f64 {
        let load = members.load(position);
        let (latency, in_flight) = (load.latency_us(now_us), f64::from(load.in_flight()));
        if latency == 0.0 && in_flight > 0.0 {
            return UNPROVEN + in_flight;
        }
        latency * (1.0 + in_flight * self.mean_weight / members.weight(position) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_support::{Random, assert_shares, members};

    const NOW: u64 = 1_000_000;

    fn counts(members: &Members, picks: usize) -> Vec<usize> {
        let policy = PeakEwma::new(members);
        let mut random = Random(21);
        let mut counts = vec![0; members.len()];
        for _ in 0..picks {
            let request = PickRequest { random: random.next(), now_us: NOW, ..PickRequest::default() };
            counts[policy.choose(members, &request)] += 1;
        }
        counts
    }

    #[test]
    fn of_two_the_faster_is_chosen() {
        let members = members(&[1, 1]);
        members.load(0).observe(20_000, NOW);
        members.load(1).observe(10_000, NOW);
        assert_eq!(counts(&members, 1_000), [0, 1_000]);
    }

    #[test]
    fn requests_under_way_count_against_a_fast_member() {
        let members = members(&[1, 1]);
        members.load(0).observe(20_000, NOW);
        members.load(1).observe(10_000, NOW);
        members.load(1).begin();
        members.load(1).begin();
        assert_eq!(counts(&members, 1_000), [1_000, 0]);
    }

    #[test]
    fn an_unknown_member_is_tried_once_and_then_awaited() {
        let members = members(&[1, 1]);
        members.load(0).observe(1_000, NOW);
        assert_eq!(counts(&members, 100), [0, 100]);
        members.load(1).begin();
        assert_eq!(counts(&members, 100), [100, 0]);
        members.load(1).observe(500, NOW);
        members.load(1).end();
        assert_eq!(counts(&members, 100), [0, 100]);
    }

    #[test]
    fn with_equal_latency_shares_follow_the_weights() {
        let members = members(&[1, 2, 6]);
        for position in 0..3 {
            members.load(position).observe(10_000, NOW);
        }
        assert_shares(&counts(&members, 90_000), &[1.0, 2.0, 6.0], 0.05);
    }

    #[test]
    fn a_light_member_stays_within_its_share_however_fast_it_is() {
        let members = members(&[1, 99]);
        members.load(0).observe(10, NOW);
        members.load(1).observe(100_000, NOW);
        let counts = counts(&members, 10_000);
        assert!((100..=300).contains(&counts[0]), "{counts:?}");
    }
}

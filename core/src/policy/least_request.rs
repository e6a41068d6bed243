//! The power of two choices: of two members drawn by chance, the one with fewer requests under way.
//!
//! Two choices are nearly as good as looking at all, and do not send every client to the same least loaded member
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001).

use crate::policy::{PickRequest, draw::Draw, members::Members};

#[derive(Debug)]
pub(super) struct LeastRequest {
    draw: Draw,
}

impl LeastRequest {
    pub(super) fn new(members: &Members) -> Self {
        Self { draw: Draw::new(members) }
    }

    pub(super) fn choose(&self, members: &Members, request: &PickRequest<'_>) -> usize {
        let (first, second) = self.draw.pair(request.random);
        if !members.is_usable(second, request) {
            return first;
        }
        if !members.is_usable(first, request) || is_better(members, second, first) { second } else { first }
    }
}

/// Whether the challenger, once it has taken the request, carries no more per weight than the first choice does now.
///
/// With equal weights this says that it has fewer requests under way. With uneven ones the draw already follows the
/// weights, and comparing `(in_flight + 1) / weight` of both would count them twice: while there is little to do, the
/// heavier would win every time. This way shares follow the weights at every load.
fn is_better(members: &Members, challenger: usize, first: usize) -> bool {
    let after = u64::from(members.load(challenger).in_flight()) + 1;
    let now = u64::from(members.load(first).in_flight());
    u128::from(after) * u128::from(members.weight(first)) <= u128::from(now) * u128::from(members.weight(challenger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_support::{Random, assert_shares, members};

    fn counts(members: &Members, picks: usize) -> Vec<usize> {
        let policy = LeastRequest::new(members);
        let mut random = Random(11);
        let mut counts = vec![0; members.len()];
        for _ in 0..picks {
            counts[policy.choose(members, &PickRequest { random: random.next(), ..PickRequest::default() })] += 1;
        }
        counts
    }

    #[test]
    fn idle_members_are_chosen_by_weight() {
        assert_shares(&counts(&members(&[1, 1, 1]), 30_000), &[1.0, 1.0, 1.0], 0.05);
        assert_shares(&counts(&members(&[1, 2]), 30_000), &[1.0, 2.0], 0.05);
        assert_shares(&counts(&members(&[1, 99]), 100_000), &[1.0, 99.0], 0.1);
    }

    #[test]
    fn of_two_the_less_loaded_takes_every_request() {
        let members = members(&[1, 1]);
        members.load(0).begin();
        assert_eq!(counts(&members, 1_000), [0, 1_000]);
    }

    #[test]
    fn load_settles_in_proportion_to_weight() {
        let members = members(&[1, 2, 5]);
        let policy = LeastRequest::new(&members);
        let mut random = Random(12);
        for _ in 0..8_000 {
            let request = PickRequest { random: random.next(), ..PickRequest::default() };
            members.load(policy.choose(&members, &request)).begin();
        }
        let in_flight: Vec<_> = (0..3).map(|position| members.load(position).in_flight() as usize).collect();
        assert_shares(&in_flight, &[1.0, 2.0, 5.0], 0.03);
    }

    #[test]
    fn a_stuck_member_gets_no_more_than_the_others_have() {
        let members = members(&[1, 1, 1, 1]);
        for _ in 0..50 {
            members.load(2).begin();
        }
        let counts = counts(&members, 10_000);
        assert_eq!(counts[2], 0, "{counts:?}");
    }
}

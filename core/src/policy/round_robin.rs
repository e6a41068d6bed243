//! Each member in turn; with uneven weights, each in as many turns as its weight says.
//!
//! Uneven weights are served by the static stride scheduler of gRPC's `weighted_round_robin` (gRFC A58): a counter walks
//! over the members again and again, and a member sits out those rounds that its weight does not entitle it to. It has
//! no state but the counter, which is why each worker can have its own.

use std::cell::Cell;

use crate::policy::members::Members;

/// The heaviest member's weight after scaling; it takes part in every round.
const MAX_WEIGHT: u64 = u16::MAX as u64;

/// Members begin their rounds at different phases, so that light ones do not all come in the same round.
const PHASE: u64 = MAX_WEIGHT / 2;

#[derive(Debug)]
pub(super) struct RoundRobin {
    len: u64,
    /// Weights scaled so that the largest is [`MAX_WEIGHT`]; empty if all are the same.
    weights: Box<[u16]>,
}

impl RoundRobin {
    pub(super) fn new(members: &Members) -> Self {
        let weights = members.uneven_weights().unwrap_or_default();
        let largest = weights.iter().copied().max().unwrap_or(1);
        // At least 1: a member with any weight at all has its turn some time.
        let scale = |weight: u64| ((weight * MAX_WEIGHT + largest / 2) / largest).max(1) as u16;
        Self { len: members.len() as u64, weights: weights.into_iter().map(scale).collect() }
    }

    /// The next in turn. Skips fewer members than there are, because the heaviest never sits out; the average is the
    /// largest weight divided by the mean.
    pub(super) fn choose(&self, cursor: &Cell<u64>) -> usize {
        loop {
            let turn = cursor.get();
            cursor.set(turn.wrapping_add(1));
            let position = turn % self.len;
            let Some(weight) = self.weights.get(position as usize) else {
                return position as usize;
            };
            let (weight, round) = (u64::from(*weight), turn / self.len);
            if (weight * (round % MAX_WEIGHT) + PHASE * position) % MAX_WEIGHT >= MAX_WEIGHT - weight {
                return position as usize;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_support::{assert_shares, members};

    fn counts(weights: &[u32], seed: u64, picks: usize) -> Vec<usize> {
        let policy = RoundRobin::new(&members(weights));
        let cursor = Cell::new(seed);
        let mut counts = vec![0; weights.len()];
        for _ in 0..picks {
            counts[policy.choose(&cursor)] += 1;
        }
        counts
    }

    #[test]
    fn equal_weights_take_turns_from_where_the_cursor_stands() {
        let policy = RoundRobin::new(&members(&[3, 3, 3]));
        let cursor = Cell::new(4);
        let turns: Vec<_> = (0..6).map(|_| policy.choose(&cursor)).collect();
        assert_eq!(turns, [1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn uneven_weights_are_followed_closely() {
        assert_shares(&counts(&[1, 2, 3], 0, 6_000), &[1.0, 2.0, 3.0], 0.01);
        assert_shares(&counts(&[1, 99], 12_345, 10_000), &[1.0, 99.0], 0.05);
        assert_shares(&counts(&[0, 1, 2], u64::MAX - 50, 4_000), &[1.0, 1.0, 2.0], 0.02);
    }

    #[test]
    fn a_heavy_member_is_interleaved_with_the_others() {
        let policy = RoundRobin::new(&members(&[1, 1, 2]));
        let cursor = Cell::new(0);
        let turns: Vec<_> = (0..400).map(|_| policy.choose(&cursor)).collect();
        let longest = turns.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
        assert!(longest <= Some(2), "{turns:?}");
    }

    #[test]
    fn any_weight_has_its_turn() {
        let counts = counts(&[1, u32::MAX], 7, 200_000);
        assert!(counts[0] >= 1, "{counts:?}");
    }
}

//! Drawing members by chance, each as often as its weight says.

use crate::policy::members::Members;

/// Draws positions by weight.
#[derive(Debug)]
pub(super) struct Draw {
    len: usize,
    /// Running sums of the weights; empty if all weights are the same.
    sums: Box<[u64]>,
}

impl Draw {
    pub(super) fn new(members: &Members) -> Self {
        let running = members.uneven_weights().unwrap_or_default().into_iter().scan(0_u64, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { len: members.len(), sums: running.collect() }
    }

    /// Whether members are drawn more or less often than each other.
    pub(super) fn is_weighted(&self) -> bool {
        !self.sums.is_empty()
    }

    /// One position.
    pub(super) fn one(&self, random: u64) -> usize {
        match self.sums.last() {
            None => below(random, self.len as u64) as usize,
            Some(total) => self.at(below(random, *total)),
        }
    }

    /// Two positions, distinct if there are two; the second is drawn as if the first were not there.
    pub(super) fn pair(&self, random: u64) -> (usize, usize) {
        if self.len < 2 {
            return (0, 0);
        }
        let first = self.one(random);
        let again = mix(random);
        let Some(total) = self.sums.last() else {
            let second = below(again, self.len as u64 - 1) as usize;
            return (first, if second < first { second } else { second + 1 });
        };
        let start = if first == 0 { 0 } else { self.sums[first - 1] };
        let width = self.sums[first] - start;
        let point = below(again, total - width);
        (first, self.at(if point < start { point } else { point + width }))
    }

    /// The member within whose share of the line the point lies.
    fn at(&self, point: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= point)
    }
}

/// Maps 64 random bits to a number below `bound`, by multiplication instead of division (Lemire, "Fast Random Integer
/// Generation in an Interval", 2019). The bias is below bound / 2^64 and not worth a second draw.
pub(super) fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

/// A second random number from the first: the finalizer of SplitMix64 (Steele, Lea, Flood, 2014), a bijection.
pub(super) fn mix(random: u64) -> u64 {
    let mut z = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_support::{Random, assert_shares, members};

    #[test]
    fn equal_weights_are_drawn_alike() {
        let draw = Draw::new(&members(&[7, 7, 7, 7]));
        assert!(!draw.is_weighted());
        let mut random = Random(1);
        let mut counts = [0; 4];
        for _ in 0..40_000 {
            counts[draw.one(random.next())] += 1;
        }
        assert_shares(&counts, &[1.0, 1.0, 1.0, 1.0], 0.05);
    }

    #[test]
    fn weights_are_followed_and_zero_counts_as_one() {
        let draw = Draw::new(&members(&[0, 2, 7]));
        let mut random = Random(2);
        let mut counts = [0; 3];
        for _ in 0..100_000 {
            counts[draw.one(random.next())] += 1;
        }
        assert_shares(&counts, &[1.0, 2.0, 7.0], 0.05);
    }

    #[test]
    fn a_pair_is_distinct_and_its_first_follows_the_weights() {
        for weights in [&[1, 1][..], &[1, 99], &[5, 5, 5], &[3, 1, 2, u32::MAX]] {
            let draw = Draw::new(&members(weights));
            let mut random = Random(3);
            for _ in 0..2_000 {
                let number = random.next();
                let (first, second) = draw.pair(number);
                assert_ne!(first, second);
                assert!(first < weights.len() && second < weights.len());
                assert_eq!(first, draw.one(number));
            }
        }
        assert_eq!(Draw::new(&members(&[4])).pair(u64::MAX), (0, 0));
    }

    #[test]
    fn the_second_of_a_pair_follows_the_weights_of_the_others() {
        let draw = Draw::new(&members(&[1, 2, 6]));
        let mut random = Random(4);
        let mut after_the_middle = [0; 3];
        for _ in 0..100_000 {
            let (first, second) = draw.pair(random.next());
            if first == 1 {
                after_the_middle[second] += 1;
            }
        }
        assert_shares(&after_the_middle, &[1.0, 0.0, 6.0], 0.1);
    }

    #[test]
    fn the_ends_of_the_random_range_are_in_bounds() {
        let draw = Draw::new(&members(&[u32::MAX, 1, u32::MAX]));
        assert_eq!((draw.one(0), draw.one(u64::MAX)), (0, 2));
    }
}

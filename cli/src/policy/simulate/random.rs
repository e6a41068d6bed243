//! Random numbers that depend on the scenario and on nothing else.

use std::{borrow::Cow, f64::consts::TAU};

use fastrand::Rng;

use super::scenario::{ServiceTime, Values};

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

/// A stream of its own for each purpose, so that what one consumes changes no other: every policy meets the same requests.
pub(super) fn stream(seed: u64, purpose: u64) -> Rng {
    Rng::with_seed(mix(seed ^ mix(purpose)))
}

/// The finaliser of SplitMix64: spreads a number over all bits.
pub(super) fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// From 0, exclusive of 1.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// The time to the next of events that come at random, in microseconds. Not rounded: many of them would add up to another rate.
pub(super) fn gap_us(rng: &mut Rng, per_second: f64) -> f64 {
    -(1.0 - unit(rng.u64(..))).ln() / per_second * 1e6
}

/// From 0, exclusive of 1.
pub(super) fn share(rng: &mut Rng) -> f64 {
    unit(rng.u64(..))
}

/// How much work a request is, as a number of standard deviations: the same wherever it goes.
pub(super) fn work(rng: &mut Rng) -> f64 {
    // Box and Muller's transform.
    let (radius, angle) = (1.0 - unit(rng.u64(..)), unit(rng.u64(..)));
    (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()
}

impl ServiceTime {
    /// What this much work takes, in microseconds.
    pub(super) fn of(self, work: f64) -> f64 {
        let sigma = (self.p99 / self.median).ln() / Z99;
        self.median * 1e3 * (sigma * work).exp()
    }
}

/// Draws values: the named ones as often as they say, then the others by Zipf's law.
pub(super) struct Draw {
    /// The share of the values up to each one.
    cumulated: Vec<f64>,
    /// The first values have names, and a request with one takes so many times as long.
    named: Vec<(String, f64)>,
}

impl Draw {
    pub(super) fn new(values: &Values) -> Self {
        let by_rank = || (1..=values.distinct).map(|rank| (rank as f64).powf(-values.skew));
        let taken: f64 = values.named.values().map(|named| named.share).sum();
        let whole: f64 = by_rank().sum();
        let others = by_rank().map(|share| share / whole * (1.0 - taken).max(0.0));
        let mut sum = 0.0;
        let cumulated = values.named.values().map(|named| named.share).chain(others).map(|share| {
            sum += share;
            sum
        });
        let cumulated = cumulated.collect();
        let named = values.named.iter().map(|(name, named)| (name.clone(), named.slower)).collect();
        Self { cumulated, named }
    }

    /// What a value is.
    pub(super) fn text(&self, value: usize) -> Cow<'_, str> {
        match self.named.get(value) {
            Some((name, _)) => Cow::Borrowed(name),
            None => Cow::Owned(format!("value-{}", value - self.named.len())),
        }
    }

    /// How many times as long a request with this value takes.
    pub(super) fn slower(&self, value: usize) -> f64 {
        self.named.get(value).map_or(1.0, |(_, slower)| *slower)
    }

    pub(super) fn next(&self, rng: &mut Rng) -> usize {
        let at = unit(rng.u64(..));
        self.cumulated.partition_point(|share| *share <= at).min(self.cumulated.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Named;
    use super::*;

    #[test]
    fn service_times_have_the_points_that_were_asked_for() {
        let time = ServiceTime { median: 10.0, p99: 40.0 };
        assert!((time.of(0.0) - 10_000.0).abs() < 1e-6);
        assert!((time.of(Z99) - 40_000.0).abs() < 1e-3);
        assert_eq!(ServiceTime { median: 3.0, p99: 3.0 }.of(5.0), 3_000.0);
        let mut rng = stream(1, 2);
        let mut works: Vec<_> = (0..100_001).map(|_| work(&mut rng)).collect();
        works.sort_by(f64::total_cmp);
        assert!(works[50_000].abs() < 0.02 && (works[99_000] - Z99).abs() < 0.1, "{} {}", works[50_000], works[99_000]);
    }

    #[test]
    fn the_first_values_come_more_often_with_skew_and_all_alike_without() {
        let count = |skew| {
            let (draw, mut rng) = (Draw::new(&Values { distinct: 10, skew, ..Values::default() }), stream(3, 4));
            let mut counts = [0; 10];
            (0..100_000).for_each(|_| counts[draw.next(&mut rng)] += 1);
            counts
        };
        assert!(count(0.0).iter().all(|count| (9_500..10_500).contains(count)));
        let skewed = count(1.0);
        let ratio = f64::from(skewed[0]) / f64::from(skewed[4]);
        assert!((4.7..5.3).contains(&ratio), "{skewed:?}");
    }

    #[test]
    fn named_values_have_their_shares_and_leave_the_others_the_rest() {
        let named = [("a", 0.25), ("b", 0.5)].map(|(name, share)| (name.to_owned(), Named { share, slower: 3.0 }));
        let draw = Draw::new(&Values { distinct: 2, skew: 0.0, named: named.into() });
        let mut rng = stream(5, 6);
        let mut counts = [0; 4];
        (0..100_000).for_each(|_| counts[draw.next(&mut rng)] += 1);
        for (count, expected) in counts.into_iter().zip([25_000, 50_000, 12_500, 12_500]) {
            assert!((expected - 600..expected + 600).contains(&count), "{counts:?}");
        }
        assert_eq!((0..4).map(|value| draw.text(value)).collect::<Vec<_>>(), ["a", "b", "value-0", "value-1"]);
        assert_eq!((draw.slower(1), draw.slower(2)), (3.0, 1.0));
    }
}

//! Medians and percentiles. Pure.

use std::time::{Duration, Instant};

/// What was measured again and again, in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Samples(Vec<f64>);

/// How often to measure: as often as is wanted, but not for longer than that; a few times in any case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rounds {
    pub(super) wanted: usize,
    pub(super) within: Duration,
}

/// Fewer samples say nothing.
const FEWEST: usize = 20;

impl Samples {
    /// `None` if there are none.
    pub(super) fn new(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        (!samples.is_empty()).then_some(Self(samples))
    }

    pub(super) fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The smallest sample that so many of a hundred do not exceed.
    pub(super) fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }
}

impl Rounds {
    /// Measures.
    pub(super) fn run<E>(self, mut round: impl FnMut() -> Result<(), E>) -> Result<(), E> {
        let began = Instant::now();
        for done in 0..self.wanted {
            if done >= FEWEST && began.elapsed() > self.within {
                break;
            }
            round()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{FEWEST, Rounds, Samples};
    use std::time::Duration;

    #[test]
    fn ranks_are_counted_from_below() {
        let samples = |count: usize| Samples::new((1..=count).rev().map(|at| at as f64).collect()).unwrap();
        for (count, median, p99) in
            [(1, 1.0, 1.0), (2, 1.0, 2.0), (3, 2.0, 3.0), (100, 50.0, 99.0), (1000, 500.0, 990.0)]
        {
            assert_eq!((samples(count).median(), samples(count).percentile(99)), (median, p99), "{count}");
        }
        assert_eq!(Samples::new(vec![]), None);
    }

    #[test]
    fn what_takes_long_is_measured_less_often() {
        let rounds = |wanted, within| {
            let mut done = 0;
            let round = || {
                done += 1;
                Ok::<_, ()>(())
            };
            Rounds { wanted, within }.run(round).unwrap();
            done
        };
        assert_eq!(rounds(50, Duration::MAX), 50);
        assert_eq!(rounds(50, Duration::ZERO), FEWEST);
        assert_eq!(rounds(3, Duration::ZERO), 3);
    }
}

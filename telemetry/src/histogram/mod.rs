//! Durations on hot paths: a histogram whose record is a handful of instructions, no lock and no allocation.
//!
//! Choose it for everything timed per request or per pick. The buckets are the same everywhere, so that dashboards
//! can add services up. Workers share one histogram per label set; a scrape may see a sample that another worker is
//! just recording in the buckets but not yet in the sum, and never a count that disagrees with the buckets.

mod registry;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

pub use registry::Histograms;

/// Upper bounds, inclusive, in microseconds, and the same in seconds as Prometheus' `le` label has it.
const BOUNDS: [(u64, &str); 14] = [
    (500, "0.0005"),
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (5_000_000, "5"),
    (10_000_000, "10"),
];

/// Counts durations in fixed buckets from half a millisecond to ten seconds.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One per bound, and one for what is above them all; each counts its own range only.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts one duration, given in microseconds.
    pub fn record(&self, micros: u64) {
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < micros);
        // Relaxed: nothing is published by a count, and each one is exact on its own.
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn counts(&self) -> [u64; BOUNDS.len() + 1] {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    fn sum_micros(&self) -> u64 {
        self.sum_micros.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::{BOUNDS, Histogram};

    #[track_caller]
    fn check(micros: u64, bucket: usize) {
        let histogram = Histogram::default();
        histogram.record(micros);
        assert_eq!(histogram.counts().iter().position(|count| *count == 1), Some(bucket), "{micros} µs");
        assert_eq!(histogram.sum_micros(), micros);
    }

    #[test]
    fn bounds_are_inclusive() {
        check(0, 0);
        check(500, 0);
        check(501, 1);
        check(1_000, 1);
        check(10_000_000, 13);
        check(10_000_001, 14);
        check(u64::MAX, 14);
    }

    #[test]
    fn bounds_ascend_and_their_labels_are_the_same_in_seconds() {
        assert!(BOUNDS.is_sorted_by(|a, b| a.0 < b.0));
        for (micros, seconds) in BOUNDS {
            assert_eq!((micros as f64 / 1e6).to_string(), seconds);
        }
    }

    #[test]
    fn many_threads_lose_nothing() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| histogram.record(700)));
            }
        });
        assert_eq!((histogram.counts()[1], histogram.sum_micros()), (40_000, 28_000_000));
    }
}

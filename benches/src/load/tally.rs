//! What came of the exchanges.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// Exchanges, counted; every duration is kept, so that percentiles are exact.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) took: Duration,
    nanoseconds: Vec<u32>,
    backends: BTreeMap<u8, u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    pub(super) fn with_room() -> Self {
        Self { nanoseconds: Vec::with_capacity(1 << 20), ..Self::default() }
    }

    pub(super) fn done(&mut self, backend: u8, took: Duration) {
        self.nanoseconds.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        *self.backends.entry(backend).or_default() += 1;
    }

    pub(super) fn failed(&mut self, error: String) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    pub(super) fn report(mut self) -> Value {
        self.nanoseconds.sort_unstable();
        let backends = self.backends.iter().map(|(name, count)| ((*name as char).to_string(), (*count).into()));
        json!({
            "requests": self.nanoseconds.len(),
            "seconds": self.took.as_secs_f64(),
            "p50_us": percentile(&self.nanoseconds, 50),
            "p99_us": percentile(&self.nanoseconds, 99),
            "backends": Value::Object(backends.collect()),
            "errors": self.errors,
            "first_error": self.first_error,
        })
    }
}

/// Of sorted durations, by nearest rank, in microseconds.
fn percentile(nanoseconds: &[u32], percent: usize) -> Option<f64> {
    let rank = (nanoseconds.len() * percent).div_ceil(100).max(1);
    nanoseconds.get(rank - 1).map(|nanoseconds| f64::from(*nanoseconds) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<u32> = (1..=200).map(|n| n * 1000).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (Some(100.0), Some(198.0)));
        assert_eq!((percentile(&[5000], 99), percentile(&[], 99)), (Some(5.0), None));
    }
}

//! What came of a simulation.

use std::collections::BTreeMap;

use super::sidecar::End;

/// Why an endpoint was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    /// A module's choice: an index into its reasons.
    Chosen(u32),
    /// A module left it to the built-in policy.
    Fallback,
    /// A module's choice did not stand: ejected, gone, or tried already.
    Overridden,
    /// A module had failed, or is left alone for a while.
    Failed,
    /// Where the module's alternate was tried.
    Alternate,
    /// There is no module.
    Builtin,
    /// A module rejected it: an index into its reasons.
    Rejected(u32),
    /// There was nobody to go to.
    Nobody,
}

/// One policy's part.
pub(super) struct Outcome {
    pub(super) policy: String,
    /// Microseconds from a request to its good answer.
    pub(super) latencies_us: Vec<u32>,
    /// The same by the second in which the answer came, where a picture is wanted.
    pub(super) by_second: Vec<Vec<u32>>,
    pub(super) errors: u64,
    pub(super) cross_zone: u64,
    /// Of those that caches had a say in: how many there were, and how many were hits.
    pub(super) cached: (u64, u64),
    /// Of the endpoints that have answered, and of requests that went nowhere.
    pub(super) reasons: BTreeMap<Why, u64>,
    /// How long requests were under way to each server, all together: divided by the time it is how many were on average.
    pub(super) under_way_us: Vec<u64>,
    /// How many requests each server has taken.
    pub(super) taken: Vec<u64>,
    pub(super) faults: u64,
    /// Lists that a module did not take.
    pub(super) refused_lists: u64,
}

impl Outcome {
    /// `seconds` of a picture, or none.
    pub(super) fn new(policy: &str, servers: usize, seconds: usize) -> Self {
        Self {
            policy: policy.to_owned(),
            latencies_us: Vec::new(),
            by_second: vec![Vec::new(); seconds],
            errors: 0,
            cross_zone: 0,
            cached: (0, 0),
            reasons: BTreeMap::new(),
            under_way_us: vec![0; servers],
            taken: vec![0; servers],
            faults: 0,
            refused_lists: 0,
        }
    }

    pub(super) fn answered(&mut self, now_us: u64, end: End, why: Why, is_cross_zone: bool, hit: Option<bool>) {
        *self.reasons.entry(why).or_default() += 1;
        self.cross_zone += u64::from(is_cross_zone);
        if let Some(hit) = hit {
            self.cached.0 += 1;
            self.cached.1 += u64::from(hit);
        }
        if end.failure.is_some() {
            self.errors += 1;
            return;
        }
        let latency = u32::try_from(end.latency_us).unwrap_or(u32::MAX);
        self.latencies_us.push(latency);
        if let Some(second) = self.by_second.get_mut((now_us / 1_000_000) as usize) {
            second.push(latency);
        }
    }

    /// A request went nowhere.
    pub(super) fn unanswered(&mut self, why: Why) {
        *self.reasons.entry(why).or_default() += 1;
        self.errors += 1;
    }

    pub(super) fn requests(&self) -> u64 {
        self.latencies_us.len() as u64 + self.errors
    }

    /// Of the good answers, in milliseconds.
    pub(super) fn percentile_ms(&mut self, percent: f64) -> Option<f64> {
        percentile_ms(&mut self.latencies_us, percent)
    }

    /// How many times the mean of all servers the busiest one has taken.
    pub(super) fn max_to_mean_load(&self) -> f64 {
        max_to_mean(&self.taken)
    }

    /// How many times the mean of all servers the busiest one had under way, over the whole time.
    pub(super) fn max_to_mean_in_flight(&self) -> f64 {
        max_to_mean(&self.under_way_us)
    }

    /// Which share of what servers have taken each zone has; nothing where no server has a zone. `zones` are those of the servers.
    pub(super) fn by_zone(&self, zones: &[&str]) -> BTreeMap<String, f64> {
        if zones.iter().all(|zone| zone.is_empty()) {
            return BTreeMap::new();
        }
        let all = self.taken.iter().sum();
        let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
        zones.iter().zip(&self.taken).for_each(|(zone, count)| *taken.entry(zone).or_default() += count);
        taken.into_iter().map(|(zone, count)| (zone.to_owned(), share(count, all))).collect()
    }

    pub(super) fn cross_zone_share(&self) -> f64 {
        share(self.cross_zone, self.requests())
    }

    pub(super) fn hit_rate(&self) -> Option<f64> {
        let (asked, hits) = self.cached;
        (asked > 0).then(|| share(hits, asked))
    }
}

/// The nearest rank, in milliseconds; `None` of nothing.
pub(super) fn percentile_ms(latencies_us: &mut [u32], percent: f64) -> Option<f64> {
    if latencies_us.is_empty() {
        return None;
    }
    let rank = (percent / 100.0 * latencies_us.len() as f64).ceil() as usize;
    let at = rank.clamp(1, latencies_us.len()) - 1;
    let (_, value, _) = latencies_us.select_nth_unstable(at);
    Some(f64::from(*value) / 1e3)
}

fn max_to_mean(values: &[u64]) -> f64 {
    let sum: u64 = values.iter().sum();
    let max = values.iter().max().copied().unwrap_or_default();
    if sum == 0 { 0.0 } else { max as f64 * values.len() as f64 / sum as f64 }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

//! What is told of it, to people and to programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    outcome::{Outcome, Why},
    sidecar::Subject,
};

/// All policies, in the order in which they were named.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    policies: Vec<Row>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    policy: String,
    requests: u64,
    /// Of good answers; `null` where there is none.
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    max_to_mean_load: f64,
    /// Of requests under way, on average.
    max_to_mean_in_flight: f64,
    cross_zone_share: f64,
    /// Shares of what endpoints have taken, where there are zones.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    by_zone: BTreeMap<String, f64>,
    /// Of caches, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    hit_rate: Option<f64>,
    errors: u64,
    /// Of a module.
    faults: u64,
    /// Lists of endpoints that a module did not take: the built-in policy served meanwhile.
    refused_lists: u64,
    /// How many of a module's choices had which reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    reason: String,
    requests: u64,
}

impl Row {
    pub(super) fn new(outcome: &mut Outcome, subject: &Subject, zones: &[&str]) -> Self {
        let reasons = match subject {
            Subject::Builtin(_) => Vec::new(),
            Subject::Module { policy, .. } => {
                let name = |why: &Why| match why {
                    Why::Chosen(index) => policy.plan().reason(*index).unwrap_or("(no reason)").to_owned(),
                    Why::Fallback => "(fallback)".to_owned(),
                    Why::Overridden => "(overridden)".to_owned(),
                    Why::Failed => "(failed)".to_owned(),
                    Why::Alternate => "(alternate)".to_owned(),
                    Why::Builtin => "(built-in)".to_owned(),
                    Why::Rejected(index) => {
                        format!("{} (rejected)", policy.plan().reason(*index).unwrap_or("(no reason)"))
                    }
                    Why::Nobody => "(nobody)".to_owned(),
                };
                // What was not declared has one row.
                let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
                outcome.reasons.iter().for_each(|(why, count)| *by_name.entry(name(why)).or_default() += count);
                by_name.into_iter().map(|(reason, requests)| Reason { reason, requests }).collect()
            }
        };
        Self {
            policy: outcome.policy.clone(),
            requests: outcome.requests(),
            p50_ms: outcome.percentile_ms(50.0).map(rounded),
            p90_ms: outcome.percentile_ms(90.0).map(rounded),
            p99_ms: outcome.percentile_ms(99.0).map(rounded),
            p999_ms: outcome.percentile_ms(99.9).map(rounded),
            max_to_mean_load: rounded(outcome.max_to_mean_load()),
            max_to_mean_in_flight: rounded(outcome.max_to_mean_in_flight()),
            by_zone: outcome.by_zone(zones).into_iter().map(|(zone, share)| (zone, rounded(share))).collect(),
            cross_zone_share: rounded(outcome.cross_zone_share()),
            hit_rate: outcome.hit_rate().map(rounded),
            errors: outcome.errors,
            faults: outcome.faults,
            refused_lists: outcome.refused_lists,
            reasons,
        }
    }
}

impl Report {
    pub(super) fn new(seed: u64, policies: Vec<Row>) -> Self {
        Self { seed, policies }
    }

    /// A table, and the reasons below it.
    pub(super) fn text(&self) -> String {
        let width = self.policies.iter().map(|row| row.policy.len()).max().unwrap_or_default().max("policy".len());
        let mut text = format!(
            "{:<width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9} {:>7} {:>7}\n",
            "policy",
            "requests",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "max/mean",
            "in flight",
            "cross-zone",
            "hit rate",
            "errors",
            "faults"
        );
        for row in &self.policies {
            let hit_rate = row.hit_rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.3}"));
            text += &format!(
                "{:<width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9.3} {:>9.3} {:>10.3} {hit_rate:>9} {:>7} {:>7}\n",
                row.policy,
                row.requests,
                milliseconds(row.p50_ms),
                milliseconds(row.p90_ms),
                milliseconds(row.p99_ms),
                milliseconds(row.p999_ms),
                row.max_to_mean_load,
                row.max_to_mean_in_flight,
                row.cross_zone_share,
                row.errors,
                row.faults
            );
        }
        for row in self.policies.iter().filter(|row| !row.by_zone.is_empty()) {
            let zones = row
                .by_zone
                .iter()
                .map(|(zone, share)| format!("{} {share:.3}", if zone.is_empty() { "(none)" } else { zone }));
            text += &format!("\n{}, by zone: {}\n", row.policy, zones.collect::<Vec<_>>().join(", "));
        }
        for row in self.policies.iter().filter(|row| !row.reasons.is_empty()) {
            let reasons = row.reasons.iter().map(|reason| format!("{} {}", reason.reason, reason.requests));
            text += &format!("\n{}: {}\n", row.policy, reasons.collect::<Vec<_>>().join(", "));
        }
        text
    }
}

fn milliseconds(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

/// More digits than these are noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

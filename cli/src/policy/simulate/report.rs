//! What is told of it, to people and to programs.

use serde::Serialize;

use super::{outcome::Outcome, sidecar::Subject};

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
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_to_mean_load: f64,
    cross_zone_share: f64,
    /// Of caches, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    hit_rate: Option<f64>,
    errors: u64,
    /// Of a module.
    faults: u64,
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
    pub(super) fn new(outcome: &mut Outcome, subject: &Subject) -> Self {
        let reasons = match subject {
            Subject::Builtin(_) => Vec::new(),
            Subject::Module { policy, .. } => {
                let name = |reason: &Option<u32>| match reason {
                    None => "(built-in)".to_owned(),
                    Some(index) => policy.plan().reason(*index).unwrap_or("(none)").to_owned(),
                };
                outcome
                    .reasons
                    .iter()
                    .map(|(reason, count)| Reason { reason: name(reason), requests: *count })
                    .collect()
            }
        };
        Self {
            policy: outcome.policy.clone(),
            requests: outcome.requests(),
            p50_ms: rounded(outcome.percentile_ms(50.0)),
            p90_ms: rounded(outcome.percentile_ms(90.0)),
            p99_ms: rounded(outcome.percentile_ms(99.0)),
            p999_ms: rounded(outcome.percentile_ms(99.9)),
            max_to_mean_load: rounded(outcome.max_to_mean_load()),
            cross_zone_share: rounded(outcome.cross_zone_share()),
            hit_rate: outcome.hit_rate().map(rounded),
            errors: outcome.errors,
            faults: outcome.faults,
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
            "{:<width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10} {:>9} {:>7} {:>7}\n",
            "policy",
            "requests",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "p99.9 ms",
            "max/mean",
            "cross-zone",
            "hit rate",
            "errors",
            "faults"
        );
        for row in &self.policies {
            let hit_rate = row.hit_rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.3}"));
            text += &format!(
                "{:<width$} {:>9} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>10.3} {hit_rate:>9} {:>7} {:>7}\n",
                row.policy,
                row.requests,
                row.p50_ms,
                row.p90_ms,
                row.p99_ms,
                row.p999_ms,
                row.max_to_mean_load,
                row.cross_zone_share,
                row.errors,
                row.faults
            );
        }
        for row in self.policies.iter().filter(|row| !row.reasons.is_empty()) {
            let reasons = row.reasons.iter().map(|reason| format!("{} {}", reason.reason, reason.requests));
            text += &format!("\n{}: {}\n", row.policy, reasons.collect::<Vec<_>>().join(", "));
        }
        text
    }
}

/// More digits than these are noise.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

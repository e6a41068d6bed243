//! What came of the drills.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ledger::Summary;

/// One drill.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    /// What became of the requests, and how long after the fault all was as it should be; or why it did not come to that.
    pub(crate) result: Result<(Summary, Duration), String>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// Whether nothing was lost.
    pub(crate) fn is_well(&self) -> bool {
        self.result.as_ref().is_ok_and(|(summary, _)| summary.lost == 0 && summary.succeeded > 0)
    }

    /// As lines of the table.
    pub(crate) fn lines(&self) -> Vec<String> {
        let (name, took) = (self.name, self.took.as_secs_f64());
        match &self.result {
            Err(words) => vec![format!("{name:<26}  FAIL  {words}  ({took:.1} s)")],
            Ok((summary, steady)) => {
                let verdict = if self.is_well() { "pass" } else { "FAIL" };
                let Summary { requests, succeeded, failed, lost, p99, words } = summary;
                let (p99, steady) = (p99.as_millis(), steady.as_millis());
                let line = format!(
                    "{name:<26}  {verdict}  {requests:>8}  {succeeded:>9}  {failed:>6}  {lost:>4}  {p99:>6} ms  {steady:>6} ms  ({took:.1} s)"
                );
                [line].into_iter().chain(words.iter().map(|words| format!("{:<26}        {words}", ""))).collect()
            }
        }
    }

    fn json(&self) -> Value {
        match &self.result {
            Err(words) => json!({ "name": self.name, "error": words }),
            Ok((summary, steady)) => json!({
                "name": self.name,
                "requests": summary.requests,
                "succeeded": summary.succeeded,
                "failed": summary.failed,
                "lost": summary.lost,
                "p99_ms": u64::try_from(summary.p99.as_millis()).unwrap_or(u64::MAX),
                "steady_ms": u64::try_from(steady.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

/// The head of the table.
pub(crate) fn head() -> String {
    let [drill, requests, succeeded, failed, lost, p99, steady] =
        ["drill", "requests", "succeeded", "failed", "lost", "p99", "steady"];
    format!("{drill:<26}        {requests:>8}  {succeeded:>9}  {failed:>6}  {lost:>4}  {p99:>9}  {steady:>9}")
}

/// The whole, as one line of JSON.
pub(crate) fn json(outcomes: &[Outcome]) -> String {
    json!({ "drills": outcomes.iter().map(Outcome::json).collect::<Vec<_>>() }).to_string()
}

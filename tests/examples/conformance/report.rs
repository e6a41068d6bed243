//! What came of the rows.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

/// One row in one family with one way of capture.
pub(crate) struct Outcome {
    pub(crate) row: u8,
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    pub(crate) backend: &'static str,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// What is to be said of it.
    pub(crate) note: &'static str,
    pub(crate) took: Duration,
}

impl Outcome {
    /// As a line of the table.
    pub(crate) fn line(&self) -> String {
        let verdict = if self.failure.is_some() { "FAIL" } else { "pass" };
        let Self { row, name, family, backend, took, .. } = self;
        let comment = self.failure.as_deref().unwrap_or(self.note);
        let line =
            format!("{row:>3}  {verdict}  {:>6} ms  {family}  {backend:<8}  {name:<58}  {comment}", took.as_millis());
        line.trim_end().to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "row": self.row,
            "name": self.name,
            "family": self.family,
            "backend": self.backend,
            "pass": self.failure.is_none(),
            "ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "note": self.failure.as_deref().unwrap_or(self.note),
        })
    }
}

/// The head of the table.
pub(crate) fn head() -> String {
    format!("{:>3}  {:<4}  {:>9}  {:<4}  {:<8}  {}", "row", "", "time", "", "capture", "behaviour")
}

/// The whole, as one line of JSON.
pub(crate) fn json(outcomes: &[Outcome]) -> String {
    json!({ "rows": outcomes.iter().map(Outcome::json).collect::<Vec<_>>() }).to_string()
}

/// The whole, as one line to read.
pub(crate) fn summary(outcomes: &[Outcome], took: Duration) -> String {
    let failed = outcomes.iter().filter(|outcome| outcome.failure.is_some()).count();
    let rows: BTreeSet<_> = outcomes.iter().map(|outcome| outcome.row).collect();
    format!("{} rows, {} runs, {failed} failed, {:.0} s", rows.len(), outcomes.len(), took.as_secs_f64())
}

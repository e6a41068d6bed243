//! One cell's load, and what the proxy has used for it.

mod h2load;
mod tools;

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::accounting::{Usage, usage};
use super::arena::Arena;
use super::backends::ADDRESSES;
use super::measure::{Load, Measure};

/// What to do to whom.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) measure: Measure,
    pub(super) targets: &'a [String],
    pub(super) connections: usize,
    pub(super) seconds: f64,
    /// Of an open loop: how many exchanges begin in a second.
    pub(super) rate: Option<f64>,
    /// The process whose CPU time and memory count; nobody's for direct connections.
    pub(super) measured: Option<u32>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    /// Exchanges that ended well.
    pub(super) requests: u64,
    pub(super) seconds: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    /// CPU time of the proxy over all of it, in nanoseconds.
    pub(super) cpu: Option<u64>,
    /// With all connections open, in KiB.
    pub(super) rss: Option<u64>,
}

/// How many answers each backend gave.
type Answers = BTreeMap<String, u64>;

/// What a proxy does after the last answer, closing what was left open say, is part of the work.
const SETTLE: Duration = Duration::from_millis(20);
/// Answers from each backend, at least, of those that there would be if all had the same share.
const LEAST_SHARE: f64 = 0.25;

/// Runs a cell, warm-up first.
pub(super) fn run(arena: &Arena, order: &Order) -> Result<Outcome> {
    match order.measure.load() {
        Load::Tools(exchange) => tools::run(arena, order, exchange),
        Load::H2load(call) => h2load::run(arena, order, call),
    }
}

/// A short try: everything must be right, and the answers must come from all backends.
pub(super) fn check(arena: &Arena, measure: Measure, targets: &[String]) -> Result<()> {
    let answers = match measure.load() {
        Load::Tools(exchange) => tools::answers(arena, targets, exchange)?,
        Load::H2load(_) => h2load::answers(arena, targets)?,
    };
    balanced(&answers)
}

fn balanced(answers: &Answers) -> Result<()> {
    let fair = answers.values().sum::<u64>() as f64 / ADDRESSES.len() as f64;
    let enough = |count: &&u64| **count as f64 >= fair * LEAST_SHARE;
    ensure!(
        answers.len() == ADDRESSES.len() && answers.values().filter(enough).count() == ADDRESSES.len(),
        "it does not balance: answers by backend are {answers:?}"
    );
    Ok(())
}

impl Order<'_> {
    fn warm_up(&self) -> f64 {
        (self.seconds / 4.0).max(0.25)
    }

    /// Of the proxy, now that it has nothing to do.
    fn settled(&self) -> Option<Usage> {
        self.measured.map(|process| {
            thread::sleep(SETTLE);
            usage(process)
        })
    }
}

/// CPU time between two accounts.
fn spent(before: Option<Usage>, after: Option<Usage>) -> Option<u64> {
    Some(after?.cpu.saturating_sub(before?.cpu))
}

#[cfg(test)]
mod tests {
    use super::balanced;

    #[track_caller]
    fn check(answers: &[(&str, u64)], good: bool) {
        let answers = answers.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        assert_eq!(balanced(&answers).is_ok(), good, "{answers:?}");
    }

    #[test]
    fn balanced_means_that_all_backends_have_a_share() {
        check(&[("1", 100), ("2", 90), ("3", 110)], true);
        check(&[("1", 150), ("2", 120), ("3", 30)], true);
        check(&[("1", 150), ("2", 140), ("3", 10)], false);
        check(&[("1", 150), ("2", 150)], false);
        check(&[], false);
    }
}

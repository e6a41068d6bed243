//! How many tests passed, failed and were skipped.

use std::fmt::{self, Display};
use std::ops::AddAssign;

/// Tests, counted from the lines in which Rust's test harness sums up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    /// Reads `test result: ok. 18 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what| {
            counts.split("; ").find_map(|count| {
                let (number, word) = count.split_once(' ')?;
                (word == what).then(|| number.parse().ok())?
            })
        };
        Some(Self { passed: count("passed")?, failed: count("failed")?, skipped: count("ignored")? })
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[track_caller]
    fn check(line: &str, expected: Option<&str>) {
        assert_eq!(Tally::parse(line).map(|tally| tally.to_string()).as_deref(), expected, "{line:?}");
    }

    #[test]
    fn only_the_sums_are_counted() {
        check(
            "test result: ok. 18 passed; 0 failed; 2 ignored; 0 measured; 1 filtered out; finished in 0.01s",
            Some("18 passed, 0 failed, 2 skipped"),
        );
        check(
            "test result: FAILED. 1 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9.00s",
            Some("1 passed, 3 failed, 0 skipped"),
        );
        check("test result: ok.", None);
        check("test admin::answers ... ok", None);
        check("running 18 tests", None);
    }
}

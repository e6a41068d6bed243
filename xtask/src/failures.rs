//! What tests that failed have said, and which have not ended, kept for the end of a run: whoever reads a long log looks there first.

/// How many lines of one failed test are kept: its panic and what it compared, not a whole log.
const LINES: usize = 30;

/// Reads the output of Rust's test harness line by line.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    reading: bool,
    tests: Vec<Failure>,
    /// Those that take long and have not ended yet.
    slow: Vec<String>,
}

/// One test that failed, and the last [`LINES`] lines that it said.
#[derive(Debug)]
struct Failure {
    name: String,
    said: Vec<String>,
}

impl Failures {
    /// Sees one line; what a test said stands between `---- NAME stdout ----` and the next such line or `failures:`.
    pub(crate) fn see(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            self.tests.push(Failure { name: name.to_owned(), said: vec![] });
            self.reading = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.reading = false;
        } else if let Some(test) = line.strip_prefix("test ") {
            match (test.split_once(" has been running for over "), test.split_once(" ... ")) {
                (Some((name, _)), _) => self.slow.push(name.to_owned()),
                (None, Some((name, _))) => self.slow.retain(|slow| slow != name),
                (None, None) => {}
            }
        } else if self.reading
            && !line.is_empty()
            && let Some(test) = self.tests.last_mut()
        {
            test.said.push(line.to_owned());
        }
    }

    /// One note of each test that failed, or has not ended.
    pub(crate) fn notes(self) -> impl Iterator<Item = String> {
        let slow = self.slow.into_iter().map(|name| format!("test {name} has not ended"));
        let failed = self.tests.into_iter().map(|Failure { name, said }| {
            let mut note = format!("test {name} failed");
            let left_out = said.len().saturating_sub(LINES);
            if left_out > 0 {
                note += &format!("\n    ({left_out} lines before)");
            }
            said[left_out..].iter().for_each(|line| note += &format!("\n    {line}"));
            note
        });
        failed.chain(slow)
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;

    fn notes(output: &str) -> Vec<String> {
        let mut failures = Failures::default();
        output.lines().for_each(|line| failures.see(line));
        failures.notes().collect()
    }

    #[test]
    fn what_failed_tests_say_is_kept_and_nothing_else() {
        let output = "
running 3 tests
test a ... ok
test b::c ... FAILED
test d ... FAILED

failures:

---- b::c stdout ----

thread 'b::c' panicked at src/b.rs:1:1:
boom

---- d stdout ----
the log

failures:
    b::c
    d

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";
        assert_eq!(
            notes(output),
            ["test b::c failed\n    thread 'b::c' panicked at src/b.rs:1:1:\n    boom", "test d failed\n    the log"]
        );
        assert!(notes("test a ... ok\ntest result: ok. 1 passed; 0 failed").is_empty());
    }

    #[test]
    fn a_test_that_hangs_is_named() {
        let output = "
test a has been running for over 60 seconds
test b has been running for over 60 seconds
test a ... ok
";
        assert_eq!(notes(output), ["test b has not ended"]);
    }

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        let log: String = (0..40).map(|line| format!("line {line}\n")).collect();
        let notes = notes(&format!("---- a stdout ----\n{log}\nfailures:\n"));
        assert!(notes[0].starts_with("test a failed\n    (10 lines before)\n    line 10\n"), "{notes:?}");
        assert!(notes[0].ends_with("line 39"), "{notes:?}");
    }
}

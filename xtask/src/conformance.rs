//! `cargo xtask conformance`: an example of the package of tests, because it stands on the same rig as they do.

use std::collections::BTreeSet;
use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;

use crate::cargo::cargo;
use crate::prerequisites::Machine;
use crate::rungs;
use crate::stream::{self, Shown};
use crate::tally::Tally;

/// How many rows docs/services.md has.
const ROWS: u64 = 40;

/// What the processes of the mesh say is for who looks for something.
const LOG: &str = "WASMESH_LOG";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    Machine::default().provide(rungs::CONFORMANCE).map_err(Error::msg)?;
    let status = command().args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The same as a test: every row is there, and each run of each passes.
pub(crate) fn check(tally: &mut Tally) -> Result<()> {
    let mut last = String::new();
    let status = stream::run(command().arg("--json"), Shown::Hidden, |line| line.clone_into(&mut last))?;
    *tally += count(&last)?;
    ensure!(status.success(), "Services do not behave as they must: see the table");
    Ok(())
}

fn command() -> Command {
    let mut command =
        cargo(&["run", "--quiet", "--package=wasmesh-tests", "--features=netns", "--example=conformance"]);
    command.arg("--").env(LOG, env::var_os(LOG).unwrap_or_else(|| "error".into()));
    command
}

fn count(report: &str) -> Result<Tally> {
    let report: Value = serde_json::from_str(report).context("the last line of conformance is no JSON")?;
    let rows = report["rows"].as_array().filter(|rows| !rows.is_empty()).context("conformance reports no rows")?;
    let numbers: BTreeSet<_> = rows.iter().filter_map(|row| row["row"].as_u64()).collect();
    ensure!(numbers == (1..=ROWS).collect(), "conformance reports the rows {numbers:?}, not 1 to {ROWS}");
    let passed = rows.iter().filter(|row| row["pass"] == true).count() as u64;
    Ok(Tally { passed, failed: rows.len() as u64 - passed, skipped: 0 })
}

#[cfg(test)]
mod tests {
    use super::{ROWS, count};

    #[test]
    fn rows_are_counted_like_tests() {
        let rows: Vec<_> = (1..=ROWS).map(|row| format!(r#"{{"row":{row},"pass":{}}}"#, row > 1)).collect();
        let counted = count(&format!(r#"{{"rows":[{}]}}"#, rows.join(",")));
        assert_eq!(counted.unwrap().to_string(), "39 passed, 1 failed, 0 skipped");
        assert!(count(&format!(r#"{{"rows":[{}]}}"#, rows[1..].join(","))).is_err(), "one is missing");
        assert!(count(r#"{"rows":[]}"#).is_err());
        assert!(count("40 rows").is_err());
    }
}

//! `cargo xtask conformance`: an example of the package of tests, because it stands on the same rig as they do.

use std::collections::BTreeSet;
use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Error, Result, bail, ensure};
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
pub(crate) fn check(tally: &mut Tally, notes: &mut Vec<String>) -> Result<()> {
    let mut last = String::new();
    let status = stream::run(command().arg("--json"), Shown::Hidden, |line| line.clone_into(&mut last))?;
    let rows = rows(&last)?;
    *tally += count(&rows)?;
    notes.extend(rows.iter().filter(|row| row["pass"] != true).map(|row| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let (name, family, backend, why) = (text("name"), text("family"), text("backend"), text("note"));
        format!("row {}, {name}, {family}, {backend}: {why}", row["row"])
    }));
    ensure!(status.success(), "Services do not behave as they must: see the table");
    Ok(())
}

fn command() -> Command {
    let mut command =
        cargo(&["run", "--quiet", "--package=wasmesh-tests", "--features=netns", "--example=conformance"]);
    command.arg("--").env(LOG, env::var_os(LOG).unwrap_or_else(|| "error".into()));
    command
}

fn rows(report: &str) -> Result<Vec<Value>> {
    let mut report: Value = serde_json::from_str(report).context("the last line of conformance is no JSON")?;
    match report["rows"].take() {
        Value::Array(rows) if !rows.is_empty() => Ok(rows),
        _ => bail!("conformance reports no rows"),
    }
}

fn count(rows: &[Value]) -> Result<Tally> {
    let numbers: BTreeSet<_> = rows.iter().filter_map(|row| row["row"].as_u64()).collect();
    ensure!(numbers == (1..=ROWS).collect(), "conformance reports the rows {numbers:?}, not 1 to {ROWS}");
    let passed = rows.iter().filter(|row| row["pass"] == true).count() as u64;
    Ok(Tally { passed, failed: rows.len() as u64 - passed, skipped: 0 })
}

#[cfg(test)]
mod tests {
    use super::{ROWS, count, rows};

    #[test]
    fn rows_are_counted_like_tests() {
        let lines: Vec<_> = (1..=ROWS).map(|row| format!(r#"{{"row":{row},"pass":{}}}"#, row > 1)).collect();
        let counted = |lines: &[String]| count(&rows(&format!(r#"{{"rows":[{}]}}"#, lines.join(",")))?);
        assert_eq!(counted(&lines).unwrap().to_string(), "39 passed, 1 failed, 0 skipped");
        assert!(counted(&lines[1..]).is_err(), "one is missing");
        assert!(counted(&[]).is_err());
        assert!(rows("40 rows").is_err());
    }
}

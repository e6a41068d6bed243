//! `cargo xtask drill`: an example of the package of tests, because it stands on the same rig as they do.

use std::env;
use std::process::{Command, ExitCode};

use anyhow::{Context, Error, Result, bail, ensure};
use serde_json::Value;

use crate::cargo::cargo;
use crate::prerequisites::Machine;
use crate::rungs;
use crate::stream::{self, Shown};
use crate::tally::Tally;

/// What the processes of the mesh say is for who looks for something.
const LOG: &str = "WASMESH_LOG";

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    Machine::default().provide(rungs::DRILL).map_err(Error::msg)?;
    let status = command().args(args).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo xtask soak`.
pub(crate) fn soak(args: &[String]) -> Result<ExitCode> {
    let minutes = match args {
        [] => "30",
        [flag, minutes] if flag == "--minutes" => minutes,
        _ => bail!("soak knows --minutes N and nothing else"),
    };
    run(&["--soak".to_owned(), minutes.to_owned()])
}

/// The same as a test, in its short form: no drill loses anything.
pub(crate) fn check(tally: &mut Tally, notes: &mut Vec<String>) -> Result<()> {
    let mut last = String::new();
    let status = stream::run(command().args(["short", "--json"]), Shown::Hidden, |line| line.clone_into(&mut last))?;
    let drills = drills(&last)?;
    let (well, ill): (Vec<_>, Vec<_>) = drills.iter().partition(|drill| is_well(drill));
    *tally += Tally { passed: well.len() as u64, failed: ill.len() as u64, skipped: 0 };
    notes.extend(ill.iter().map(|drill| format!("drill {drill}")));
    ensure!(status.success(), "something is lost in a drill: see the table");
    Ok(())
}

fn command() -> Command {
    let mut command = cargo(&["run", "--quiet", "--package=wasmesh-tests", "--features=netns", "--example=drill"]);
    command.arg("--").env(LOG, env::var_os(LOG).unwrap_or_else(|| "off".into()));
    command
}

fn drills(report: &str) -> Result<Vec<Value>> {
    let mut report: Value = serde_json::from_str(report).context("the last line of the drills is no JSON")?;
    match report["drills"].take() {
        Value::Array(drills) if !drills.is_empty() => Ok(drills),
        _ => bail!("there are no drills"),
    }
}

fn is_well(drill: &Value) -> bool {
    drill["lost"] == 0 && drill["succeeded"].as_u64() > Some(0)
}

#[cfg(test)]
mod tests {
    use super::{drills, is_well};

    #[test]
    fn a_drill_is_well_when_requests_were_answered_and_none_was_lost() {
        let report =
            r#"{"drills":[{"succeeded":9,"lost":0},{"succeeded":9,"lost":1},{"succeeded":0,"lost":0},{"error":"no"}]}"#;
        let verdicts: Vec<_> = drills(report).unwrap().iter().map(is_well).collect();
        assert_eq!(verdicts, [true, false, false, false]);
        assert!(drills(r#"{"drills":[]}"#).is_err());
        assert!(drills("all well").is_err());
    }
}

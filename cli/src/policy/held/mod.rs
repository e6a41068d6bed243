//! `wasmesh policy test`: whether a policy does what its author says it does.

mod cases;
mod desk;
mod verdict;

use std::process::ExitCode;

use serde::Serialize;
use wasmesh_policy_host::{About, Calls};

use self::{cases::Cases, desk::Desk};
use super::load::{about, load_for};
use crate::options;

/// What became of a case.
#[derive(Debug, Serialize)]
struct Outcome {
    case: String,
    pass: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Runs all cases and prints what became of them. Fails if one does.
pub(super) fn run(options: &options::TestPolicy) -> anyhow::Result<ExitCode> {
    let cases = Cases::read(&options.cases)?;
    let config = serde_json::to_string(&cases.config)?;
    let policy = load_for(&options.file, &config, Calls::DirectIfPossible, cases.grants(), 1)?;
    let About(mut place) = about();
    place.retain(|(name, _)| !cases.about.contains_key(name));
    place.extend(cases.about.iter().map(|(name, value)| (name.clone(), value.clone())));
    let desk = Desk { policy, about: About(place) };
    let mut outcomes = Vec::new();
    let mut text = String::new();
    for case in &cases.cases {
        let problem = match desk.pick(cases.endpoints(case), case) {
            Ok(picks) => verdict::problem(&case.expect, &picks),
            Err(error) => Some(format!("{error:#}")),
        };
        text += &match &problem {
            None => format!("ok    {}\n", case.name),
            Some(problem) => format!("FAIL  {}: {problem}\n", case.name),
        };
        outcomes.push(Outcome { case: case.name.clone(), pass: problem.is_none(), problem });
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.pass).count();
    text += &format!("{} cases, {failed} failed\n", outcomes.len());
    if options.json {
        eprint!("{text}");
        crate::commands::print(&format!("{}\n", serde_json::json!({ "cases": outcomes })))?;
    } else {
        crate::commands::print(&text)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

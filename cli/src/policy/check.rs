//! `wasmesh policy check`: whether a file may serve as a policy, and what it is.

use std::{path::Path, process::ExitCode};

use serde::Serialize;
use wasmesh_policy_host::{Calls, HostOptions, Policy, Word};

use super::load::load;
use crate::options;

/// What programs read. Of a file that may not serve there is only the reason.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    facts: Option<Facts>,
}

/// What a policy is.
#[derive(Debug, Serialize)]
struct Facts {
    bytes: usize,
    sha256: String,
    path: String,
    /// Why it is not called directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_component: Option<String>,
    feedback: bool,
    keys: Vec<String>,
    wants: Vec<String>,
    reasons: Vec<String>,
    compile_ms: f64,
}

/// Loads it, tries it as a sidecar does, and prints what came of it.
pub(super) fn run(options: &options::CheckPolicy) -> anyhow::Result<ExitCode> {
    let (text, report) = match load(&options.file, &options.config, Calls::DirectIfPossible) {
        Ok(policy) => {
            let facts = Facts::of(&policy);
            let text = facts.text(&options.file);
            (text, Report { ok: true, error: None, facts: Some(facts) })
        }
        Err(error) if options.json => return refused(&error),
        Err(error) => return Err(error),
    };
    if options.json {
        print_json(&text, &report)?;
    } else {
        crate::commands::print(&text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says to programs that there is nothing that may serve, and why.
pub(super) fn refused(error: &anyhow::Error) -> anyhow::Result<ExitCode> {
    let error = format!("{error:#}");
    print_json(&format!("{error}\n"), &Report { ok: false, error: Some(error.clone()), facts: None })?;
    Ok(ExitCode::FAILURE)
}

/// What people read on stderr, what programs do on stdout.
fn print_json(text: &str, report: &Report) -> anyhow::Result<()> {
    eprint!("{text}");
    crate::commands::print(&format!("{}\n", serde_json::to_string(report)?))?;
    Ok(())
}

impl Facts {
    fn of(policy: &Policy) -> Self {
        let (module, plan) = (policy.module(), policy.plan());
        Self {
            bytes: module.size_bytes(),
            sha256: module.digest().to_string(),
            path: module.path().to_string(),
            why_component: module.why_component().map(str::to_owned),
            feedback: module.has_feedback(),
            keys: plan.keys.iter().map(Word::to_string).collect(),
            wants: plan.wants.iter().map(ToString::to_string).collect(),
            reasons: plan.reasons.clone(),
            compile_ms: (module.compile_time().as_secs_f64() * 1e4).round() / 10.0,
        }
    }

    /// One line for each.
    fn text(&self, file: &Path) -> String {
        let list = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let called = match &self.why_component {
            None => self.path.clone(),
            Some(why) => format!("{}, because {why}", self.path),
        };
        let max = HostOptions::DEFAULT_MAX_MODULE_BYTES;
        let told = if self.feedback { "yes, it exports feedback" } else { "no" };
        let lines = [
            ("policy", file.display().to_string()),
            ("size", format!("{} of {max} bytes", self.bytes)),
            ("sha256", self.sha256.clone()),
            ("called", called),
            ("keys", list(&self.keys)),
            ("wants", list(&self.wants)),
            ("reasons", list(&self.reasons)),
            ("told of ends", told.to_owned()),
            ("compile", format!("{} ms", self.compile_ms)),
            ("tried", "with lists of none, one and several endpoints, and a thousand picks".to_owned()),
        ];
        let lines: String = lines.iter().map(|(what, value)| format!("{what:<14}{value}\n")).collect();
        format!("{lines}It may serve.\n")
    }
}

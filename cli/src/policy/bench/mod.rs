//! `wasmesh policy bench`: what a policy costs beside a built-in one on the same endpoints.

mod endpoints;
mod measure;
mod memory;
mod report;
mod requests;
mod samples;

use std::{path::Path, process::ExitCode};

use anyhow::Context;
use wasmesh_core::policy::BuiltinPolicy;
use wasmesh_policy_host::{Calls, Grants};

use self::{endpoints::Endpoints, report::Report};
use super::load::load_for;
use crate::options;

/// Measures and prints.
pub(super) fn run(options: &options::Bench) -> anyhow::Result<ExitCode> {
    let calls = if options.component { Calls::AsComponents } else { Calls::DirectIfPossible };
    let policy = load_for(&options.file, &options.config, calls, Grants::ALL, measure::SIDECARS)?;
    let endpoints = Endpoints::new(options.endpoints);
    let name = name_of(&options.file);
    let twin = name.parse().unwrap_or(BuiltinPolicy::LeastRequest);
    let measured = measure::measure(&policy, &endpoints, twin).with_context(|| {
        format!("{} cannot be measured over {} endpoints", options.file.display(), options.endpoints)
    })?;
    let report = Report::new(name, &policy, options.endpoints, &measured, twin);
    if options.json {
        eprint!("{}", report.text());
        crate::commands::print(&format!("{}\n", serde_json::to_string(&report)?))
    } else {
        crate::commands::print(&report.text())
    }
}

/// What a policy is called: its file without folder and ending.
pub(super) fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

//! `wasmesh policy bench`: what a policy costs beside a built-in one on the same endpoints.

mod comparison;
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
    let reports = options.files.iter().map(|file| report(options, file)).collect::<anyhow::Result<Vec<_>>>()?;
    let (text, json) = match reports.as_slice() {
        [only] => (only.text(), serde_json::to_string(only)?),
        several => (comparison::text(&options.files, several), comparison::json(&options.files, several)?),
    };
    if options.json {
        eprint!("{text}");
        crate::commands::print(&format!("{json}\n"))
    } else {
        crate::commands::print(&text)
    }
}

fn report(options: &options::Bench, file: &Path) -> anyhow::Result<Report> {
    let calls = if options.component { Calls::AsComponents } else { Calls::DirectIfPossible };
    let policy = load_for(file, &options.config, calls, Grants::ALL, measure::SIDECARS)?;
    let endpoints = Endpoints::new(options.endpoints);
    let name = name_of(file);
    let twin = name.parse().unwrap_or(BuiltinPolicy::LeastRequest);
    let measured = measure::measure(&policy, &endpoints, twin)
        .with_context(|| format!("{} cannot be measured over {} endpoints", file.display(), options.endpoints))?;
    Ok(Report::new(name, &policy, options.endpoints, &measured, twin))
}

/// What a policy is called: its file without folder and ending.
pub(super) fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

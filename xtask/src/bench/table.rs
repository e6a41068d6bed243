//! `cargo xtask bench table`: a program of its own, without a network.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::objects;
use super::options::Bench;
use super::programs::{self, TOOLS, WASMESH};

/// With few Services it only shows that it works.
const QUICK: [&str; 4] = ["--services", "100", "--samples", "10"];

pub(super) fn run(options: &Bench) -> Result<ExitCode> {
    // The same packages as for the other benches, or other features of others would have them all built anew.
    let places = programs::build(&[&TOOLS[..], &WASMESH].concat(), !options.quick)?;
    let (_, program) = places
        .iter()
        .find(|(name, _)| name == "wasmesh-bench-table")
        .context("the build made no wasmesh-bench-table")?;
    let output = Command::new(program).args(QUICK.iter().filter(|_| options.quick)).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    let report: Value = serde_json::from_slice(&output.stdout).context("the bench prints no JSON")?;
    objects::print(options.json, report["results"].as_array().map_or(&[], Vec::as_slice));
    Ok(ExitCode::SUCCESS)
}

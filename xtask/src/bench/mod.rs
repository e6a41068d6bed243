//! `cargo xtask bench`: what a sidecar costs, beside others that do the same work in the same place.
//!
//! Twice the same program: outside, as the user started it, everything that needs the network or a compiler is made
//! ready; then it starts itself once more inside namespaces of its own, where the traffic is. Whatever becomes of the
//! run, the kernel ends all processes and removes the network with the last of them.

mod accounting;
mod arena;
mod backends;
mod cells;
mod control_plane;
mod load;
mod measure;
mod options;
mod peers;
mod placement;
mod process;
mod programs;
mod report;
mod stats;

use std::process::ExitCode;

use anyhow::{Context, Result};

pub(crate) use control_plane::run as control_plane;
pub(crate) use options::Bench;

use crate::prerequisites::Machine;
use arena::Arena;
use programs::Programs;

/// Outside: provides what is needed, then measures inside.
pub(crate) fn run(options: &Bench, args: &[String]) -> Result<ExitCode> {
    let programs = Programs::provide(options, &mut Machine::default())?;
    arena::enter(&[&["bench-inside".to_owned(), programs.encode()], args].concat())
}

/// Inside: measures.
pub(crate) fn inside(args: &[String]) -> Result<ExitCode> {
    let (programs, args) = args.split_first().context("for `cargo xtask bench` only")?;
    let options = Bench::parse(args)?;
    let arena = Arena::set_up(&Programs::decode(programs)?)?;
    let rows = cells::measure(&options, &arena)?;
    report::print(&options, &rows);
    Ok(if rows.iter().all(report::Row::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! `cargo xtask bench`: what a sidecar costs, beside others that do the same work in the same place.
//!
//! Twice the same program: outside, as the user started it, everything that needs the network or a compiler is made
//! ready; then it starts itself once more inside namespaces of its own, where the traffic is. Whatever becomes of the
//! run, the kernel ends all processes and removes the network with the last of them.

mod accounting;
mod arena;
mod backends;
mod cells;
mod charts;
mod container;
mod control_plane;
mod counted;
mod instructions;
mod load;
mod measure;
mod memory;
mod module;
mod objects;
mod options;
mod peers;
mod picture;
mod placement;
mod process;
mod programs;
mod report;
mod start;
mod stats;
mod table;
mod tool;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub(crate) use charts::run as charts;
pub(crate) use control_plane::run as control_plane;
pub(crate) use options::Bench;

use crate::prerequisites::Machine;
use arena::Arena;
use options::What;
use programs::Programs;

/// Outside: provides what is needed, then measures inside.
pub(crate) fn run(options: &Bench, args: &[String]) -> Result<ExitCode> {
    if options.what == What::Table {
        return table::run(options);
    }
    let programs = Programs::provide(options, &mut Machine::default())?;
    arena::enter(&[&["bench-inside".to_owned(), programs.encode()], args].concat())
}

/// Inside: measures.
pub(crate) fn inside(args: &[String]) -> Result<ExitCode> {
    let (programs, args) = args.split_first().context("for `cargo xtask bench` only")?;
    let options = Bench::parse(args)?;
    let arena = Arena::set_up(&Programs::decode(programs)?)?;
    let is_good = match options.what {
        What::Exchanges => {
            let rows = cells::measure(&options, &arena)?;
            report::print(&options, &rows);
            rows.iter().all(report::Row::is_good)
        }
        What::Memory | What::Start | What::Module | What::Instructions => {
            let results = match options.what {
                What::Start => start::measure(&options, &arena)?,
                What::Module => module::measure(&options, &arena)?,
                What::Instructions => instructions::measure(&options, &arena)?,
                _ => memory::measure(&options, &arena)?,
            };
            objects::print(options.json, &results);
            results.iter().all(|result| result["errors"] == 0)
        }
        What::Table => bail!("nothing of it is measured in here"),
    };
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

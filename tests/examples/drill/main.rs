//! `cargo xtask drill`: real processes under load while something goes wrong, and not a request lost by it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a drill fails by panicking, as a test does")]

mod black_hole;
mod drills;
mod endpoint;
mod ground;
mod ledger;
mod places;
mod protocol;
mod report;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use drills::{DRILLS, Drill};
use ground::{Ground, PODS};
use report::Outcome;
use wasmesh_tests::netns::Netns;

/// Has things go wrong while a mesh is under load, and counts what is lost.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask drill")]
struct Options {
    /// Which drills, or `all`, or `short` for one of each kind
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,

    /// Print one JSON object as the last line, and the table on stderr
    #[arg(long)]
    json: bool,

    /// What is left to chance comes out the same for the same number
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let drills: Vec<_> = DRILLS.iter().filter(|drill| options.has(drill)).collect();
    let is_unknown =
        |name: &&String| !["all", "short"].contains(&name.as_str()) && !DRILLS.iter().any(|drill| drill.name == **name);
    if let Some(unknown) = options.names.iter().find(is_unknown) {
        eprintln!("drill: there is no {unknown:?}, but these:");
        DRILLS.iter().for_each(|drill| eprintln!("  {:<26}  {}", drill.name, drill.about));
        return ExitCode::from(2);
    }
    let netns = Netns::default();
    netns.capture();
    netns.ip(&format!("route add local {PODS} dev lo"));
    let say = |line: &str| if options.json { eprintln!("{line}") } else { println!("{line}") };
    say(&report::head());
    // Whatever is started inside, threads and processes, stays inside.
    let outcomes = netns.enter(|| {
        let outcomes = drills.iter().map(|drill| {
            let outcome = run(&netns, drill, options.seed);
            outcome.lines().iter().for_each(|line| say(line));
            outcome
        });
        outcomes.collect::<Vec<_>>()
    });
    if options.json {
        println!("{}", report::json(&outcomes));
    }
    let passed = !outcomes.is_empty() && outcomes.iter().all(Outcome::is_well);
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Options {
    fn has(&self, drill: &Drill) -> bool {
        let is_meant = |name: &String| match name.as_str() {
            "all" => true,
            "short" => drill.is_short,
            name => name == drill.name,
        };
        self.names.iter().any(is_meant)
    }
}

fn run(netns: &Netns, drill: &Drill, seed: u64) -> Outcome {
    let begun = Instant::now();
    let drilled = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut ground = Ground::start(netns, seed, drill.setting);
        ground.steady()?;
        let mut fault = Instant::now();
        (drill.run)(&mut ground, &mut fault);
        let steady = ground.steady()?.saturating_duration_since(fault);
        Ok((ground.end(), steady))
    }));
    let result = drilled.unwrap_or_else(|panic| Err(words(&*panic)));
    Outcome { name: drill.name, result, took: begun.elapsed() }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it panicked without words").to_owned()
}

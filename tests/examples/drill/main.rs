//! `cargo xtask drill`: real processes under load while something goes wrong, and not a request lost by it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a drill fails by panicking, as a test does")]

mod black_hole;
mod drills;
mod endpoint;
mod ground;
mod ledger;
mod memory_limit;
mod places;
mod protocol;
mod report;
mod soak;
mod tap;

use std::{
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use drills::{DRILLS, Drill};
use ground::{Ground, PODS};
use report::Outcome;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmesh_tests::netns::Netns;

/// Has things go wrong while a mesh is under load, and counts what is lost.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask drill")]
struct Options {
    /// Which drills, or `all`, or `short` for one of each kind
    #[arg(required_unless_present = "soak", value_name = "NAME")]
    names: Vec<String>,

    /// Print one JSON object as the last line, and the table on stderr
    #[arg(long)]
    json: bool,

    /// Not a drill: pods, policies and connections come and go for so long, and nothing may grow
    #[arg(long, value_name = "MINUTES", conflicts_with = "names")]
    soak: Option<f64>,

    /// Where the picture of a soak is drawn
    #[arg(long, value_name = "FILE", default_value = "target/soak.svg")]
    picture: PathBuf,

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
    // The clients and pods of a drill are all in this process.
    let files = getrlimit(Resource::Nofile);
    let _as_it_is = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files });
    let netns = Netns::default();
    netns.capture();
    netns.ip(&format!("route add local {PODS} dev lo"));
    if let Some(minutes) = options.soak {
        return netns.enter(|| soaked(&netns, minutes, &options));
    }
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

/// Prints one JSON object as the last line.
fn soaked(netns: &Netns, minutes: f64, options: &Options) -> ExitCode {
    match soak::soak(netns, minutes, options.seed) {
        Ok(soaked) => {
            soaked.draw(&options.picture);
            soaked.growth.iter().for_each(|growth| eprintln!("soak: {growth}"));
            println!("{}", soaked.json());
            if soaked.is_flat() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(words) => {
            eprintln!("soak: {words}");
            ExitCode::FAILURE
        }
    }
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
        ground.look_anew();
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

//! `cargo xtask conformance`: whether every behaviour of Services (docs/services.md) comes out as it must, in a cluster of
//! network namespaces: two nodes in two zones, pods on bridges, nginx and other backends, a stand-in for kube-proxy, the real
//! control plane with a folder, real sidecars whose connections are captured, in both families, by nftables and by iptables.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a row fails by panicking, as a test does")]
#![allow(clippy::needless_pass_by_value, reason = "a row writes its objects down where they are used")]

mod backends;
mod cluster;
mod family;
mod manifests;
mod node;
mod pod;
mod report;
mod rows;
mod sidecar;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    time::Instant,
};

use clap::Parser;
use cluster::{Capture, Cluster};
use family::Family;
use report::Outcome;
use rows::{ROWS, Row, Run};

/// Checks how Services behave behind the mesh, row by row.
#[derive(Parser)]
#[command(name = "cargo xtask conformance")]
struct Options {
    /// Print one JSON object as the last line, and the table on stderr
    #[arg(long)]
    json: bool,

    /// Only this row; may be given more than once
    #[arg(long, value_name = "N")]
    row: Vec<u8>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // A row that fails is a line of the table.
    panic::set_hook(Box::new(|_| {}));
    let begun = Instant::now();
    let say = |line: &str| if options.json { eprintln!("{line}") } else { println!("{line}") };
    say(&report::head());
    let mut outcomes = Vec::new();
    for capture in Capture::ALL {
        let rows: Vec<_> = ROWS.iter().filter(|row| row.applies(capture) && options.has(row)).collect();
        if rows.is_empty() {
            continue;
        }
        let cluster = match panic::catch_unwind(|| Cluster::start(capture)) {
            Ok(cluster) => cluster,
            Err(panic) => {
                eprintln!("conformance: no cluster can be set up ({}): {}", capture.name(), words(&*panic));
                return ExitCode::from(2);
            }
        };
        for row in rows {
            for family in Family::BOTH {
                let outcome = run(&cluster, row, family, capture);
                say(&outcome.line());
                outcomes.push(outcome);
            }
        }
    }
    say(&report::summary(&outcomes, begun.elapsed()));
    if options.json {
        println!("{}", report::json(&outcomes));
    }
    let passed = !outcomes.is_empty() && outcomes.iter().all(|outcome| outcome.failure.is_none());
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Options {
    fn has(&self, row: &Row) -> bool {
        self.row.is_empty() || self.row.contains(&row.number)
    }
}

fn run(cluster: &Cluster, row: &Row, family: Family, capture: Capture) -> Outcome {
    let begun = Instant::now();
    let run = Run::new(cluster, row.number, family);
    let done = panic::catch_unwind(AssertUnwindSafe(|| (row.check)(&run)));
    let took = begun.elapsed();
    let cleared = panic::catch_unwind(AssertUnwindSafe(|| cluster.clear()));
    let failure = done.and(cleared).err().map(|panic| words(&*panic).replace('\n', " "));
    let (family, backend) = (family.name(), capture.name());
    Outcome { row: row.number, name: row.name, family, backend, failure, note: row.note, took }
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked without words")
}

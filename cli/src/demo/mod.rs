//! `wasmesh demo`: a whole mesh on loopback, a stream of requests through it, and changes that lose none of them.
//!
//! Control plane and sidecar are the real binaries, started as children; backends and clients run in this process. The
//! [plan](phases) is data; the [`Stage`] carries it out and [`judge`] says whether each phase went as it must. A request is
//! judged by when it began: before or after the sidecar acknowledged the change of its phase.

mod backends;
mod clients;
mod grpc;
mod interruption;
mod judge;
mod manifests;
mod mesh;
mod names;
mod own;
mod phases;
mod process;
mod protocol;
mod report;
mod says;
mod screen;
mod stage;
mod tally;

use std::{
    io,
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;

use self::{report::Report, screen::Screen, stage::Stage, tally::Tally};
use crate::options;

/// Runs the demo; `started` is when this program did.
pub(crate) fn run(options: &options::Demo, started: Instant) -> anyhow::Result<ExitCode> {
    process::beside_this("wasmesh-control-plane")?;
    process::beside_this("wasmesh-proxy")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let interrupted = interruption::interruption()?;
        // Whatever runs is owned by the demo's future and ends when that is dropped.
        tokio::select! {
            ended = demo(options, started) => ended,
            code = interrupted => Ok(code),
        }
    });
    // A page that is being asked for in a blocking thread is of no interest any more.
    runtime.shutdown_background();
    ended
}

async fn demo(options: &options::Demo, started: Instant) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::new(options.json);
    screen.say("Starting a control plane on a folder of Kubernetes objects, a sidecar, and backends on loopback.\n");
    let mut stage = Stage::set_up().await?;
    let results = match stage.play(options.seconds_per_phase, &mut screen).await {
        Ok(results) => results,
        Err(error) => {
            screen.say(&stage.mesh.last_words());
            return Err(error);
        }
    };
    let names = stage.asked().await?;
    let good = results.iter().all(|result| result.complaints.is_empty()) && names.errors == 0;
    let to_first_request = stage.recorder.first_answer().map(|at| at.duration_since(started));
    screen.say(&verdict(&results, to_first_request));
    screen.say(&format!("{} questions for a name meanwhile, {} without an address.", names.questions, names.errors));
    if !good {
        screen.say(&stage.mesh.last_words());
    }
    if options.json {
        let report = serde_json::to_string(&Report::new(&results, names, to_first_request))?;
        writeln!(io::stdout(), "{report}").context("nobody reads the report")?;
    }
    let code = if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if options.keep {
        stage.resume_traffic()?;
        screen.say(&stage.where_to_look()?);
        // Until the signal that ends the demo from outside.
        std::future::pending::<()>().await;
    } else {
        screen.say("Have a look yourself: `wasmesh demo --keep` leaves everything running and says where it is.");
    }
    stage.end().await?;
    Ok(code)
}

fn verdict(results: &[judge::Outcome], to_first_request: Option<Duration>) -> String {
    let sum = |count: fn(&Tally) -> u64| -> u64 {
        results.iter().map(|result| count(&result.changing) + count(&result.settled)).sum()
    };
    let (requests, errors) = (sum(|tally| tally.sent), sum(|tally| tally.errors));
    let failed: Vec<_> = results.iter().filter(|r| !r.complaints.is_empty()).map(|r| r.name).collect();
    let first = to_first_request.map_or_else(String::new, |time| {
        format!(" The first was answered {:.2} s after the demo began.", time.as_secs_f64())
    });
    match failed.as_slice() {
        [] => {
            format!("{requests} requests, calls and connections through {} changes, none lost.{first}", results.len())
        }
        failed => format!(
            "{requests} requests, calls and connections, {errors} errors; not as it must be: {}.{first}",
            failed.join(", ")
        ),
    }
}

//! `wasmesh-proxy`: see [`wasmesh_proxy::options`] for what it can be told.

use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmesh_proxy::{
    Listeners, capture,
    options::{Cli, Command},
    serve,
};
use wasmesh_telemetry::{logging, shutdown};

/// A proxy needs two file descriptors per connection, and the soft limit that processes start with is for select().
fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("the limit of open files stays at {:?}: {error}", limit.current);
    }
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let command = match Cli::parse().command {
        // Before anything else is begun: what a compiler is allowed counts for all that its process has.
        Command::CompilePolicy => return wasmesh_policy_host::compile_child_main(),
        command => command,
    };
    match begin(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn begin(command: Command) -> anyhow::Result<()> {
    let options = match command {
        Command::Run(options) => options,
        Command::Capture(command) => return capture::run(command).await,
        Command::CompilePolicy => return Ok(()),
    };
    logging::init("info");
    raise_open_files_limit();
    let stop = shutdown::signal()?;
    let listeners = Listeners::bind(&options)?;
    listeners.announce()?;
    serve(options, listeners, stop).await
}

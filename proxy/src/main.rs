//! `wasmesh-proxy`: see [`wasmesh_proxy::options`] for what it can be told.

use clap::Parser;
use wasmesh_proxy::{
    Listeners, capture,
    options::{Cli, Command},
    serve,
};
use wasmesh_telemetry::{logging, shutdown};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let options = match Cli::parse().command {
        Command::Run(options) => options,
        Command::Capture(command) => return capture::run(command).await,
    };
    logging::init("info");
    let stop = shutdown::signal()?;
    let listeners = Listeners::bind(&options)?;
    listeners.announce()?;
    serve(options, listeners, stop).await
}

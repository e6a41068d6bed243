//! `wasmesh-control-plane`: see [`wasmesh_control_plane::Options`] for what it can be told.

use clap::Parser;
use wasmesh_control_plane::{Listeners, Options, serve};
use wasmesh_telemetry::{logging, shutdown};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    logging::init("info");
    let stop = shutdown::signal()?;
    let listeners = Listeners::bind(&options).await?;
    listeners.announce()?;
    serve(options, listeners, stop).await
}

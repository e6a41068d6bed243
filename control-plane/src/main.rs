//! `wasmesh-control-plane`: see [`wasmesh_control_plane::Options`] for what it can be told.

use clap::Parser;
use wasmesh_control_plane::{Listeners, Options, serve};
use wasmesh_telemetry::{logging, shutdown};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    // What these say of the API server is said once, by whoever asked, with what to do about it.
    logging::init("info,kube_client=off,kube_runtime=off");
    let stop = shutdown::signal()?;
    let listeners = Listeners::bind(&options)?;
    listeners.announce()?;
    serve(options, listeners, stop).await
}

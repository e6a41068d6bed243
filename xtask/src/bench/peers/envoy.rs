//! Envoy.

use std::process::Command;

use anyhow::Result;

use super::{Captured, Peer, Running, Setup, launch};
use crate::bench::arena::Arena;

pub(super) const PEER: Peer = Peer {
    name: "envoy",
    captured: Some(Captured { vip: "10.96.0.4", port: 7004 }),
    needs: &[],
    start,
    version: |arena| {
        let mut command = Command::new(arena.path(PEER.name));
        command.arg("--version");
        Some(command)
    },
};

pub(super) const CONFIGS: [&str; 3] =
    [include_str!("envoy_http.yaml"), include_str!("envoy_grpc.yaml"), include_str!("envoy_tcp.yaml")];

fn start(arena: &Arena, setup: &Setup) -> Result<Running> {
    let config = arena.write("envoy.yaml", setup.protocol.choose(CONFIGS))?;
    let mut command = Command::new(arena.path(PEER.name));
    command.arg("--config-path").arg(config);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]);
    let measured = launch(arena, PEER.captured.as_ref(), PEER.name, command)?;
    Ok(Running { measured: Some(measured), _helpers: Vec::new() })
}

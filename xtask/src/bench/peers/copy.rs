//! The byte-copy relay: the floor under every proxy.

use std::process::Command;

use anyhow::Result;

use super::{Captured, Peer, Running, Setup, launch};
use crate::bench::arena::Arena;
use crate::bench::backends::ADDRESSES;

pub(super) const PEER: Peer = Peer {
    name: "copy",
    captured: Some(Captured { vip: "10.96.0.1", port: 7001 }),
    needs: &[],
    start,
    version: |arena| {
        let mut command = tools(arena);
        command.arg("--version");
        Some(command)
    },
};

fn start(arena: &Arena, _: &Setup) -> Result<Running> {
    let mut command = tools(arena);
    command.args(["copy", "--listen", "127.0.0.1:7001"]);
    command.args(ADDRESSES.iter().flat_map(|address| ["--to", address]));
    let measured = launch(arena, PEER.captured.as_ref(), PEER.name, command)?;
    Ok(Running { measured: Some(measured), _helpers: Vec::new() })
}

fn tools(arena: &Arena) -> Command {
    Command::new(arena.path("wasmesh-bench-tools"))
}

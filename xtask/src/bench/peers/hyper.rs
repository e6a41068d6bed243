//! A proxy of nothing but hyper: the floor of whoever builds on it, for HTTP/2.

use std::process::Command;

use anyhow::Result;

use super::{Captured, Peer, Running, Setup, launch};
use crate::bench::arena::Arena;
use crate::bench::backends::ADDRESSES;

pub(super) const PEER: Peer = Peer {
    name: "hyper",
    captured: Some(Captured { vip: "10.96.0.8", port: 7008 }),
    needs: &[],
    start,
    version: |_| None,
};

fn start(arena: &Arena, _: &Setup) -> Result<Running> {
    let mut command = Command::new(arena.path("wasmesh-bench-tools"));
    command.args(["hyper", "--listen", "127.0.0.1:7008"]);
    command.args(ADDRESSES.iter().flat_map(|address| ["--to", address]));
    let measured = launch(arena, PEER.captured.as_ref(), PEER.name, command)?;
    Ok(Running { measured: Some(measured), _helpers: Vec::new() })
}

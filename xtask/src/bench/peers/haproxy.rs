//! HAProxy.

use std::process::Command;

use anyhow::Result;

use super::{Captured, Peer, Running, Setup, launch};
use crate::bench::arena::Arena;
use crate::rungs::Need;

pub(super) const PEER: Peer = Peer {
    name: "haproxy",
    captured: Some(Captured { vip: "10.96.0.3", port: 7003 }),
    needs: &[Need::Program { name: "haproxy", package: "haproxy" }],
    start,
    version: |_| {
        let mut command = Command::new("haproxy");
        command.arg("-v");
        Some(command)
    },
};

pub(super) const CONFIGS: [&str; 3] =
    [include_str!("haproxy_http.cfg"), include_str!("haproxy_grpc.cfg"), include_str!("haproxy_tcp.cfg")];

/// It makes room for as many beforehand.
const LEAST_MAXCONN: usize = 4000;

fn start(arena: &Arena, setup: &Setup) -> Result<Running> {
    let config =
        setup.protocol.choose(CONFIGS).replace("{{maxconn}}", &setup.connections.max(LEAST_MAXCONN).to_string());
    let config = arena.write("haproxy.cfg", &config)?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(config);
    let measured = launch(arena, PEER.captured.as_ref(), PEER.name, command)?;
    Ok(Running { measured: Some(measured), _helpers: Vec::new() })
}

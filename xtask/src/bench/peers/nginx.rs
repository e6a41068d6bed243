//! nginx: `proxy_pass`, `grpc_pass`, and the stream module for plain TCP.

use std::process::Command;

use anyhow::Result;

use super::{Captured, Peer, Running, Setup, launch};
use crate::bench::arena::Arena;
use crate::rungs::Need;

pub(super) const PEER: Peer = Peer {
    name: "nginx",
    captured: Some(Captured { vip: "10.96.0.2", port: 7002 }),
    needs: &[
        Need::Program { name: "nginx", package: "nginx-light" },
        // A file is found like a program.
        Need::Program { name: "/usr/lib/nginx/modules/ngx_stream_module.so", package: "libnginx-mod-stream" },
    ],
    start,
    version: |_| {
        let mut command = Command::new("nginx");
        command.arg("-v");
        Some(command)
    },
};

pub(super) const CONFIGS: [&str; 3] =
    [include_str!("nginx_http.conf"), include_str!("nginx_grpc.conf"), include_str!("nginx_tcp.conf")];

fn start(arena: &Arena, setup: &Setup) -> Result<Running> {
    let config = arena.write("nginx.conf", setup.protocol.choose(CONFIGS))?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(arena.path("")).arg("-c").arg(config).args(["-e", "stderr"]);
    let measured = launch(arena, PEER.captured.as_ref(), PEER.name, command)?;
    Ok(Running { measured: Some(measured), _helpers: Vec::new() })
}

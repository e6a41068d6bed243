//! Ourselves, as in a pod: a control plane, and a proxy that knows the Service from it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Captured, Peer, Running, launch};
use crate::bench::arena::Arena;
use crate::bench::backends::ADDRESSES;
use crate::bench::measure::Protocol;
use crate::bench::process::Process;

pub(super) const PEER: Peer = Peer {
    name: "wasmesh",
    captured: Some(Captured { vip: "10.96.0.5", port: 7005 }),
    needs: &[],
    start,
    version: |arena| {
        let mut command = Command::new(arena.path(PROXY));
        command.arg("--version");
        Some(command)
    },
};

const CONTROL_PLANE: &str = "wasmesh-control-plane";
const PROXY: &str = "wasmesh-proxy";
const DISCOVERY: &str = "127.0.0.1:19010";
const ADMIN: &str = "127.0.0.1:19020";
/// As quiet as the others.
const QUIET: (&str, &str) = ("WASMESH_LOG", "error");

fn start(arena: &Arena, protocol: Protocol) -> Result<Running> {
    let vip = PEER.captured.as_ref().context("nowhere to listen")?.vip;
    arena.write("manifests/bench.json", &manifest(vip, protocol.choose(["http", "grpc", "tcp"])).to_string())?;
    let mut command = Command::new(arena.path(CONTROL_PLANE));
    command.arg("--source").arg(arena.path("manifests")).args(["--discovery-listen", DISCOVERY]).env(QUIET.0, QUIET.1);
    let mut control_plane = Process::start(arena, CONTROL_PLANE, command)?;
    control_plane.listens(DISCOVERY)?;

    let mut command = Command::new(arena.path(PROXY));
    command.args(["run", "--workers", "1", "--outbound-listen", "127.0.0.1:7005", "--admin-listen", ADMIN]);
    command.args(["--control-plane", &format!("http://{DISCOVERY}")]).env(QUIET.0, QUIET.1);
    let mut proxy = launch(arena, PEER.captured.as_ref(), PROXY, command)?;
    proxy.waits(|| is_ready().unwrap_or(false))?;
    Ok(Running { measured: Some(proxy), _helpers: vec![control_plane] })
}

/// The Service and its endpoints. The port's name declares the protocol; the policy is the default, least-request.
fn manifest(vip: &str, port: &str) -> Value {
    let hosts = ADDRESSES.iter().filter_map(|address| address.split_once(':')).map(|(host, _)| host);
    let endpoints: Vec<_> = hosts.map(|host| json!({ "addresses": [host], "conditions": { "ready": true } })).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "bench", "namespace": "default" },
            "spec": { "clusterIP": vip, "clusterIPs": [vip], "ports": [{ "name": port, "port": 80, "targetPort": 8080 }] },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "bench-1",
                "namespace": "default",
                "labels": { "kubernetes.io/service-name": "bench" },
            },
            "addressType": "IPv4",
            "ports": [{ "name": port, "port": 8080, "protocol": "TCP" }],
            "endpoints": endpoints,
        },
    ] })
}

fn is_ready() -> Result<bool> {
    let mut admin = TcpStream::connect(ADMIN)?;
    admin.set_read_timeout(Some(Duration::from_secs(1)))?;
    admin.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    admin.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

//! Ourselves, as in a pod: a control plane, and a proxy that knows the Service from it; once with the built-in policy, and once
//! with the same as a module.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
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
    start: |arena, protocol| start(arena, protocol, &BUILT_IN),
    version,
};

pub(super) const WITH_MODULE: Peer = Peer {
    name: "wasmesh-wasm",
    captured: Some(Captured { vip: "10.96.0.6", port: 7006 }),
    needs: &[],
    start: |arena, protocol| start(arena, protocol, &MODULE),
    version,
};

const BUILT_IN: Place = Place {
    peer: &PEER,
    discovery: "127.0.0.1:19010",
    admin: "127.0.0.1:19020",
    control_plane_admin: "127.0.0.1:19014",
    policy: None,
};
const MODULE: Place = Place {
    peer: &WITH_MODULE,
    discovery: "127.0.0.1:19110",
    admin: "127.0.0.1:19120",
    control_plane_admin: "127.0.0.1:19114",
    policy: Some("least-request.wasm"),
};

const CONTROL_PLANE: &str = "wasmesh-control-plane";
const PROXY: &str = "wasmesh-proxy";
/// As quiet as the others.
const QUIET: (&str, &str) = ("WASMESH_LOG", "error");

/// Where a mesh of one proxy stands, and what policy it has.
struct Place {
    peer: &'static Peer,
    discovery: &'static str,
    admin: &'static str,
    control_plane_admin: &'static str,
    /// One of the checked-in modules in Rust.
    policy: Option<&'static str>,
}

fn version(arena: &Arena) -> Option<Command> {
    let mut command = Command::new(arena.path(PROXY));
    command.arg("--version");
    Some(command)
}

fn start(arena: &Arena, protocol: Protocol, place: &Place) -> Result<Running> {
    let Place { peer, discovery, admin, control_plane_admin, policy } = place;
    let captured = peer.captured.as_ref().context("nowhere to listen")?;
    let folder = format!("manifests-{}", peer.name);
    let port = protocol.choose(["http", "grpc", "tcp"]);
    arena.write(&format!("{folder}/bench.json"), &manifest(captured.vip, port, *policy).to_string())?;
    if let Some(module) = policy {
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built/rust").join(module);
        fs::copy(&built, arena.path(&folder).join(module)).with_context(|| format!("no {}", built.display()))?;
    }
    let mut command = Command::new(arena.path(CONTROL_PLANE));
    command.arg("--source").arg(arena.path(&folder)).env(QUIET.0, QUIET.1);
    command.args(["--discovery-listen", discovery, "--admin-listen", control_plane_admin]);
    let mut control_plane = Process::start(arena, &format!("{}-control-plane", peer.name), command)?;
    control_plane.listens(discovery)?;

    let mut command = Command::new(arena.path(PROXY));
    command.args(["run", "--workers", "1", "--outbound-listen", &captured.listen(), "--admin-listen", admin]);
    command.args(["--module-jitter", "0", "--control-plane", &format!("http://{discovery}")]).env(QUIET.0, QUIET.1);
    let mut proxy = launch(arena, Some(captured), peer.name, command)?;
    proxy.waits(|| ask(admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))?;
    if policy.is_some() {
        // Its module is fetched when the Service is used first.
        drop(TcpStream::connect((captured.vip, 80))?);
        proxy.waits(|| ask(admin, "/debug/policies").is_ok_and(|page| page.contains("\"programmed\"")))?;
    }
    Ok(Running { measured: Some(proxy), _helpers: vec![control_plane] })
}

/// The Service and its endpoints. The port's name declares the protocol; the policy is the default, least-request.
fn manifest(vip: &str, port: &str, policy: Option<&str>) -> Value {
    let hosts = ADDRESSES.iter().filter_map(|address| address.split_once(':')).map(|(host, _)| host);
    let endpoints: Vec<_> = hosts.map(|host| json!({ "addresses": [host], "conditions": { "ready": true } })).collect();
    let mut items = vec![
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": "bench", "namespace": "default" },
            "spec": { "clusterIP": vip, "clusterIPs": [vip], "ports": [{ "name": port, "port": 80, "targetPort": 8080 }] },
        }),
        json!({
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
        }),
    ];
    items.extend(policy.map(|module| {
        json!({
            "apiVersion": "wasmesh.io/v1alpha1",
            "kind": "LoadBalancingPolicy",
            "metadata": { "name": "bench", "namespace": "default" },
            "spec": {
                "targetRefs": [{ "group": "", "kind": "Service", "name": "bench" }],
                "type": "Wasm",
                "wasm": { "source": { "file": module } },
            },
        })
    }));
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// What a page of an admin server says.
fn ask(admin: &str, page: &str) -> Result<String> {
    let mut admin = TcpStream::connect(admin)?;
    admin.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(admin, "GET {page} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    admin.read_to_string(&mut answer)?;
    Ok(answer)
}

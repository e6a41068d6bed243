//! Ourselves, as in a pod: a control plane, and a proxy that knows the Service from it; once with the built-in policy, and once
//! with the same as a module.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Captured, Others, Peer, Running, Setup, launch};
use crate::bench::arena::Arena;
use crate::bench::backends::ADDRESSES;
use crate::bench::container::Container;
use crate::bench::measure::Protocol;
use crate::bench::process::Process;

pub(in crate::bench) const PEER: Peer = Peer {
    name: "wasmesh",
    captured: Some(Captured { vip: "10.96.0.5", port: 7005 }),
    needs: &[],
    start: |arena, setup| start(arena, setup, &BUILT_IN),
    version,
};

pub(super) const WITH_MODULE: Peer = Peer {
    name: "wasmesh-wasm",
    captured: Some(Captured { vip: "10.96.0.6", port: 7006 }),
    needs: &[],
    start: |arena, setup| start(arena, setup, &MODULE),
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

/// So many of the Services beside the one that is measured lead to the backends.
const USED: usize = 20;

/// Their addresses, and where connections to these arrive.
pub(in crate::bench) fn used() -> impl Iterator<Item = (String, u16)> {
    let port = PEER.captured.as_ref().map_or(0, |captured| captured.port);
    (0..USED).map(move |number| (used_vip(number), port))
}

fn used_vip(number: usize) -> String {
    format!("10.96.1.{}", number + 1)
}

/// The modules that are checked in.
pub(in crate::bench) const BUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/policies/built");
const CONTROL_PLANE: &str = "wasmesh-control-plane";
pub(in crate::bench) const PROXY: &str = "wasmesh-proxy";
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

impl Place {
    /// Where its objects are.
    fn folder(&self) -> String {
        format!("manifests-{}", self.peer.name)
    }
}

fn version(arena: &Arena) -> Option<Command> {
    let mut command = Command::new(arena.path(PROXY));
    command.arg("--version");
    Some(command)
}

fn start(arena: &Arena, setup: &Setup, place: &Place) -> Result<Running> {
    start_with(arena, setup, place, |proxy| proxy)
}

/// Starts one of ours, the proxy as what a wrapper runs.
pub(in crate::bench) fn start_under(
    arena: &Arena,
    setup: &Setup,
    peer: &Peer,
    mut wrapper: Command,
) -> Result<Running> {
    let place = if peer.name == PEER.name { &BUILT_IN } else { &MODULE };
    start_with(arena, setup, place, |proxy| {
        // A wrapped program cannot start itself once more, as it does to compile.
        wrapper.arg(proxy.get_program()).args(proxy.get_args()).arg("--compile-in-process");
        wrapper.envs(proxy.get_envs().filter_map(|(name, value)| Some((name, value?))));
        wrapper
    })
}

fn start_with(arena: &Arena, setup: &Setup, place: &Place, wrap: impl FnOnce(Command) -> Command) -> Result<Running> {
    let captured = place.peer.captured.as_ref().context("nowhere to listen")?;
    let module = place.policy.map(|module| Path::new(BUILT).join("rust").join(module));
    write_bench(arena, place, setup.protocol, module.as_deref())?;
    arena.write(&format!("{}/others.json", place.folder()), &others(&setup.others).to_string())?;
    let control_plane = start_control_plane(arena, place)?;
    let mut proxy = launch(arena, Some(captured), place.peer.name, wrap(proxy_command(arena, place, captured)))?;
    knows(&mut proxy, place, setup.others.services + 1)?;
    if module.is_some() {
        // Its module is fetched when the Service is used first.
        drop(TcpStream::connect((captured.vip, 80))?);
        proxy.waits(|| is_programmed(place))?;
    }
    Ok(Running { measured: Some(proxy), _helpers: vec![control_plane] })
}

/// A proxy in a container with limits, with the built-in policy until it is given another.
pub(in crate::bench) struct Contained {
    _control_plane: Process,
    _proxy: Process,
}

impl Contained {
    pub(in crate::bench) fn start(arena: &Arena, container: &Container) -> Result<Self> {
        let captured = PEER.captured.as_ref().context("nowhere to listen")?;
        write_bench(arena, &BUILT_IN, Protocol::Http, None)?;
        let control_plane = start_control_plane(arena, &BUILT_IN)?;
        let command = proxy_command(arena, &BUILT_IN, captured);
        let mut proxy = container.within(|| launch(arena, Some(captured), PEER.name, command))?;
        knows(&mut proxy, &BUILT_IN, 1)?;
        Ok(Self { _control_plane: control_plane, _proxy: proxy })
    }

    /// Has the module of this file choose from now on.
    pub(in crate::bench) fn set_module(&self, arena: &Arena, module: &Path) -> Result<()> {
        write_bench(arena, &BUILT_IN, Protocol::Http, Some(module))
    }

    pub(in crate::bench) fn is_programmed(&self) -> bool {
        is_programmed(&BUILT_IN)
    }

    /// What it says of its policies.
    pub(in crate::bench) fn policies(&self) -> Result<String> {
        ask(BUILT_IN.admin, "/debug/policies")
    }
}

fn knows(proxy: &mut Process, place: &Place, services: usize) -> Result<()> {
    let known = format!("\nwasmesh_services {services}\n");
    proxy.waits(|| ask(place.admin, "/metrics").is_ok_and(|page| page.contains(&known)))
}

fn is_programmed(place: &Place) -> bool {
    ask(place.admin, "/debug/policies").is_ok_and(|page| page.contains("\"programmed\""))
}

/// Writes the Service that is measured, and brings its module if it has one.
fn write_bench(arena: &Arena, place: &Place, protocol: Protocol, module: Option<&Path>) -> Result<()> {
    let captured = place.peer.captured.as_ref().context("nowhere to listen")?;
    let name = match module {
        Some(module) => {
            let name = module.file_name().and_then(OsStr::to_str).context("a module without a name")?;
            let folder = arena.path(&place.folder());
            fs::create_dir_all(&folder)?;
            fs::copy(module, folder.join(name)).with_context(|| format!("no {}", module.display()))?;
            Some(name)
        }
        None => None,
    };
    let port = protocol.choose(["http", "grpc", "tcp"]);
    arena.write(&format!("{}/bench.json", place.folder()), &manifest(captured.vip, port, name).to_string())?;
    Ok(())
}

fn start_control_plane(arena: &Arena, place: &Place) -> Result<Process> {
    let mut command = Command::new(arena.path(CONTROL_PLANE));
    command.arg("--source").arg(arena.path(&place.folder())).env(QUIET.0, QUIET.1);
    command.args(["--discovery-listen", place.discovery, "--admin-listen", place.control_plane_admin]);
    let mut control_plane = Process::start(arena, &format!("{}-control-plane", place.peer.name), command)?;
    control_plane.listens(place.discovery)?;
    Ok(control_plane)
}

fn proxy_command(arena: &Arena, place: &Place, captured: &Captured) -> Command {
    let mut command = Command::new(arena.path(PROXY));
    command.args(["run", "--workers", "1", "--outbound-listen", &captured.listen(), "--admin-listen", place.admin]);
    let control_plane = format!("http://{}", place.discovery);
    command.args(["--module-jitter", "0", "--control-plane", &control_plane]).env(QUIET.0, QUIET.1);
    command
}

/// How long proxies take, each after the other, from being started until they are ready, while their control plane is there.
pub(in crate::bench) fn starts(arena: &Arena, setup: &Setup, times: usize) -> Result<Vec<Duration>> {
    let running = PEER.start(arena, setup)?;
    let captured = PEER.captured.as_ref().context("nowhere to listen")?;
    // Only its control plane is needed further on.
    let Running { measured, _helpers } = running;
    drop(measured);
    let start = |_| {
        let begun = Instant::now();
        let command = proxy_command(arena, &BUILT_IN, captured);
        let mut proxy = Process::start(arena, PEER.name, command)?;
        proxy.waits(|| ask(BUILT_IN.admin, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")))?;
        Ok(begun.elapsed())
    };
    (0..times).map(start).collect()
}

/// The Service and its endpoints. The port's name declares the protocol; the policy is the default, least-request.
fn manifest(vip: &str, port: &str, policy: Option<&str>) -> Value {
    let hosts = ADDRESSES.iter().filter_map(|address| address.split_once(':'));
    let endpoints: Vec<_> = hosts.map(|(host, _)| host.to_owned()).collect();
    let mut items = service("bench", vip, port, &endpoints).to_vec();
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

/// Services that are there and not measured.
fn others(others: &Others) -> Value {
    let hosts = ADDRESSES.iter().filter_map(|address| address.split_once(':'));
    let backends: Vec<_> = hosts.map(|(host, _)| host.to_owned()).collect();
    let items = (0..others.services).flat_map(|number| {
        let (name, of) = (format!("other-{number}"), number / 250);
        if number < USED {
            return service(&name, &used_vip(number), "http", &backends);
        }
        let fabled: Vec<_> = (1..=others.endpoints).map(|n| format!("10.{}.{}.{n}", 100 + of, number % 250)).collect();
        service(&name, &format!("10.96.{}.{}", 8 + of, number % 250 + 1), "http", &fabled)
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>() })
}

/// A Service with one port, and its endpoints.
fn service(name: &str, vip: &str, port: &str, hosts: &[String]) -> [Value; 2] {
    let endpoints: Vec<_> =
        hosts.iter().map(|host| json!({ "addresses": [host], "conditions": { "ready": true } })).collect();
    [
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "clusterIP": vip, "clusterIPs": [vip], "ports": [{ "name": port, "port": 80, "targetPort": 8080 }] },
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{name}-1"),
                "namespace": "default",
                "labels": { "kubernetes.io/service-name": name },
            },
            "addressType": "IPv4",
            "ports": [{ "name": port, "port": 8080, "protocol": "TCP" }],
            "endpoints": endpoints,
        }),
    ]
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

//! `cargo xtask bench control-plane`: a real API server, many Services, one control plane and many streams.
//!
//! All of it is on one machine that runs the API server, etcd, the control plane and the proxies. Measured are:
//! how long an endpoint that changes takes from the call that writes it to the last proxy that uses the Service, and what
//! that costs the control plane, with a tenth of the Services and with all of them; how long all proxies need that have lost
//! their streams at once; how far the control plane is behind when very much has been written; how long one that starts needs
//! to have it; and its memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on says where it stopped")]

use std::{
    env, fs,
    ops::Range,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet};
use wasmesh_proto::wire;
use wasmesh_tests::{
    Fleet,
    kube::{ApiServer, Installation},
    process::Process,
    runtime,
};

const NAMESPACE: &str = "bench";
/// How many writes are under way at once.
const WRITERS: usize = 16;
/// How long all of it may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// How much there is of everything.
struct Size {
    services: usize,
    endpoints: usize,
    streams: usize,
    changes: usize,
}

fn main() {
    let mut size = Size { services: 10_000, endpoints: 10, streams: 1000, changes: 50 };
    let mut is_json = false;
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|value| value.parse().ok()).expect("a number");
        match arg.as_str() {
            "--json" => is_json = true,
            "--services" => size.services = number(),
            "--endpoints" => size.endpoints = number(),
            "--streams" => size.streams = number(),
            "--changes" => size.changes = number(),
            other => panic!("{other:?} is not known: --json, --services, --endpoints, --streams and --changes are"),
        }
    }
    let results = measure(&size);
    if is_json {
        println!("{}", json!({ "results": results }));
    } else {
        results.iter().for_each(|result| println!("{}", serde_json::to_string_pretty(result).unwrap()));
    }
}

fn measure(size: &Size) -> Vec<Value> {
    let mut server = ApiServer::start();
    server.start_controllers();
    let installation = Installation::on(&server);
    server.kubectl(&["create", "namespace", NAMESPACE], "");
    server.node("node-1", None);
    let client = server.client();
    let token = installation.client_pod(NAMESPACE, "client", "node-1");
    // All of them come from one address, and again before the last ones have gone.
    let room = (2 * size.streams).to_string();
    let room = ["--max-connections", &room, "--max-connections-per-source", &room];
    let control_plane = installation.ready_control_plane("bench", &room);
    let mut results = Vec::new();
    let mut told = |measure: &str, services: usize, figures: Value| {
        let mut result = json!({
            "measure": measure, "proxy": "wasmesh-control-plane", "version": env!("CARGO_PKG_VERSION"),
            "services": services, "endpoints": services * size.endpoints, "streams": size.streams,
            "rss_kib": memory(&control_plane, "VmRSS:"), "errors": 0, "error": null,
        });
        let fields = result.as_object_mut().unwrap();
        fields.extend(figures.as_object().unwrap().clone());
        eprintln!("{result}");
        results.push(result);
    };

    let few = (size.services / 10).max(1);
    // The Service that is changed has one endpoint from then on.
    let all = (size.services - 1) * size.endpoints + 1;
    runtime().block_on(write(client.clone(), 0..few, size.endpoints));
    until_converged(&control_plane, few * size.endpoints);
    let mut fleet = connect(&installation, &control_plane, &token, size);
    told("control-plane-change", few, changes(&mut fleet, &control_plane, &client, size.changes, 1));
    drop(fleet);

    let begun = Instant::now();
    runtime().block_on(write(client.clone(), few..size.services, size.endpoints));
    let written = Instant::now();
    until_converged(&control_plane, all);
    let figures = json!({
        "writing_seconds": seconds(written - begun), "seconds": seconds(written.elapsed()),
    });
    told("control-plane-lag", size.services, figures);

    let started = Instant::now();
    let fresh = installation.control_plane("fresh", &[]);
    until_converged(&fresh, all);
    told(
        "control-plane-start",
        size.services,
        json!({ "seconds": seconds(started.elapsed()), "rss_kib": memory(&fresh, "VmRSS:") }),
    );
    drop(fresh);

    let begun = Instant::now();
    let mut fleet = connect(&installation, &control_plane, &token, size);
    told("control-plane-connect", size.services, json!({ "seconds": seconds(begun.elapsed()) }));
    told("control-plane-change", size.services, changes(&mut fleet, &control_plane, &client, size.changes, 2));
    let took = fleet.reconnect();
    let peak = memory(&control_plane, "VmHWM:");
    told("control-plane-reconnect", size.services, json!({ "seconds": seconds(took), "rss_peak_kib": peak }));
    results
}

fn connect(installation: &Installation<'_>, control_plane: &Process, token: &str, size: &Size) -> Fleet {
    let node = wire::Node { proxy: format!("{NAMESPACE}/client"), ..Default::default() };
    let endpoint = installation.endpoint(control_plane.address("discovery"));
    Fleet::connect(endpoint, token, node, &format!("{NAMESPACE}/{}", name(0)), size.streams)
}

/// Changes one endpoint after the other. `round` tells their addresses from those of other rounds.
fn changes(fleet: &mut Fleet, control_plane: &Process, client: &Client, changes: usize, round: u8) -> Value {
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let (cpu_before, bytes_before) = (cpu_us(control_plane), fleet.bytes());
    let mut latencies = Vec::new();
    for change in 0..changes {
        let address = [10, 200 + round, (change / 250) as u8, (change % 250) as u8 + 1];
        let text = address.map(|byte| byte.to_string()).join(".");
        let patch = Patch::Merge(json!({ "endpoints": [{ "addresses": [text] }] }));
        let begun = Instant::now();
        runtime().block_on(slices.patch(&name(0), &PatchParams::default(), &patch)).unwrap();
        latencies.push(fleet.until_told(address) - begun);
    }
    latencies.sort();
    let of = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize].as_micros();
    json!({
        "changes": changes,
        "p50_us": of(0.5), "p99_us": of(0.99), "max_us": of(1.0),
        "cpu_us_per_change": (cpu_us(control_plane) - cpu_before) / changes as u64,
        "bytes_per_change": (fleet.bytes() - bytes_before) / changes as u64,
    })
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Writes Services and their slices.
async fn write(client: Client, numbers: Range<usize>, endpoints: usize) {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
    let (turns, mut writes) = (Arc::new(Semaphore::new(WRITERS)), JoinSet::new());
    for n in numbers {
        let (services, slices, turns) = (services.clone(), slices.clone(), Arc::clone(&turns));
        writes.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let service =
                json!({ "metadata": { "name": name(n) }, "spec": { "ports": [{ "name": "http", "port": 80 }] } });
            let service = serde_json::from_value(service).unwrap();
            services.create(&PostParams::default(), &service).await.unwrap();
            slices.create(&PostParams::default(), &slice(n, endpoints)).await.unwrap();
        });
    }
    while let Some(written) = writes.join_next().await {
        written.unwrap();
    }
}

fn name(n: usize) -> String {
    format!("service-{n}")
}

fn slice(n: usize, endpoints: usize) -> EndpointSlice {
    // As the controller of the cluster writes them.
    let endpoint = |endpoint| {
        let pod = format!("{}-7d4b9c6f58-x{endpoint:04}", name(n));
        json!({
            "addresses": [format!("10.{}.{}.{}", 100 + n / 250, n % 250, endpoint + 1)],
            "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": format!("node-{}", endpoint % 100 + 1),
            "targetRef": {
                "kind": "Pod", "namespace": NAMESPACE, "name": pod,
                "uid": format!("5f3c1b7e-9d2a-4c68-8{:03x}-{n:06x}{endpoint:06x}", n % 4096),
            },
            "zone": format!("zone-{}", endpoint % 3 + 1),
        })
    };
    let endpoints: Vec<_> = (0..endpoints).map(endpoint).collect();
    serde_json::from_value(json!({
        "metadata": { "name": name(n), "labels": { "kubernetes.io/service-name": name(n) } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": endpoints,
    }))
    .unwrap()
}

/// Waits until a control plane has published so many endpoints.
fn until_converged(control_plane: &Process, endpoints: usize) {
    let deadline = Instant::now() + PATIENCE;
    while control_plane.admin().metric("wasmesh_control_plane_endpoints", &[]) < endpoints as f64 {
        assert!(Instant::now() < deadline, "not converged within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// In KiB: what there is now (`VmRSS:`), or was at most (`VmHWM:`).
fn memory(process: &Process, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix(what)).expect("a line about memory");
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
}

/// CPU time of all its threads.
fn cpu_us(process: &Process) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("a running process");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let fields: Vec<_> = fields.split_whitespace().collect();
    // utime and stime, in ticks of 10 ms.
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number") * 10_000).sum()
}

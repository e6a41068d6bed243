//! `cargo xtask bench control-plane`: a real API server, many Services, one control plane and many streams.
//!
//! What is measured, all of it on one machine that runs the API server, etcd, the control plane and the proxies:
//! how long after the last write of a large cluster the control plane has all of it; how long a control plane that starts
//! then takes to have it; how much memory it needs; and how long an endpoint that changes takes from the call that writes it
//! to every proxy that uses the Service.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on says where it stopped")]

use std::{
    env, fs,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use prost::Message;
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};
use wasmesh_proto::wire::{ItemBody, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy};
use wasmesh_tests::{
    FakeProxy, hello,
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
    let mut size = Size { services: 1000, endpoints: 10, streams: 100, changes: 100 };
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
    let mut server = ApiServer::start();
    server.start_controllers();
    let installation = Installation::on(&server);
    server.kubectl(&["create", "namespace", NAMESPACE], "");
    server.node("node-1", None);
    let client = server.client();
    let control_plane = installation.ready_control_plane("bench");
    let empty = memory(&control_plane);

    let begun = Instant::now();
    runtime().block_on(write(client.clone(), &size));
    let written = Instant::now();
    until_converged(&control_plane, &size);
    let lag = written.elapsed();
    let full = memory(&control_plane);

    let started = Instant::now();
    let fresh = installation.control_plane("fresh", &[]);
    until_converged(&fresh, &size);
    let cold = started.elapsed();
    let fresh_memory = memory(&fresh);
    drop(fresh);

    let latencies = propagation(&installation, &control_plane, &client, &size);
    let millis = |duration: Duration| (duration.as_secs_f64() * 1e4).round() / 10.0;
    let of = |share: f64| millis(latencies[((latencies.len() - 1) as f64 * share) as usize]);
    let report = json!({
        "services": size.services, "endpoints": size.services * size.endpoints, "streams": size.streams,
        "writing_seconds": (written - begun).as_secs_f64(),
        "lag_after_last_write_ms": millis(lag),
        "cold_start_ms": millis(cold),
        "memory_mib": { "empty": empty, "full": full, "fresh": fresh_memory, "with_streams": memory(&control_plane) },
        "propagation_ms": { "samples": latencies.len(), "p50": of(0.5), "p90": of(0.9), "p99": of(0.99), "max": of(1.0) },
    });
    if is_json {
        println!("{report}");
    } else {
        println!("{}", serde_json::to_string_pretty(&report).unwrap());
    }
}

/// Writes all Services and their slices.
async fn write(client: Client, size: &Size) {
    let services: Api<Service> = Api::namespaced(client.clone(), NAMESPACE);
    let slices: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
    let (turns, mut writes) = (Arc::new(Semaphore::new(WRITERS)), JoinSet::new());
    for n in 0..size.services {
        let (services, slices, turns, endpoints) =
            (services.clone(), slices.clone(), Arc::clone(&turns), size.endpoints);
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
    let endpoints: Vec<_> = (0..endpoints)
        .map(|endpoint| json!({ "addresses": [format!("10.{}.{}.{}", 100 + n / 250, n % 250, endpoint + 1)] }))
        .collect();
    serde_json::from_value(json!({
        "metadata": { "name": name(n), "labels": { "kubernetes.io/service-name": name(n) } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": endpoints,
    }))
    .unwrap()
}

/// Waits until a control plane has published everything.
fn until_converged(control_plane: &Process, size: &Size) {
    let deadline = Instant::now() + PATIENCE;
    let expected = (size.services * size.endpoints) as f64;
    while control_plane.admin().metric("wasmesh_control_plane_endpoints", &[]) < expected {
        assert!(Instant::now() < deadline, "not converged within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// From the beginning of each call that changes an endpoint to each stream having been told, shortest first.
fn propagation(
    installation: &Installation<'_>,
    control_plane: &Process,
    client: &Client,
    size: &Size,
) -> Vec<Duration> {
    let token = installation.client_pod(NAMESPACE, "client", "node-1");
    let (told, heard) = mpsc::channel();
    for _ in 0..size.streams {
        let mut proxy = installation.proxy(control_plane, &token);
        proxy.send(FromProxy::Hello(hello(&format!("{NAMESPACE}/client"), &[&format!("{NAMESPACE}/service-0")])));
        proxy.expect_welcome();
        let first = proxy.expect_update();
        proxy.ack(&first);
        let told = told.clone();
        thread::spawn(move || follow(proxy, &told));
    }
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), NAMESPACE);
    let mut latencies = Vec::new();
    for change in 0..size.changes {
        let address = [10, 99, (change / 250) as u8, (change % 250) as u8 + 1];
        let text = address.map(|byte| byte.to_string()).join(".");
        let patch = Patch::Merge(json!({ "endpoints": [{ "addresses": [text] }] }));
        let begun = Instant::now();
        runtime().block_on(slices.patch(&name(0), &PatchParams::default(), &patch)).unwrap();
        for _ in 0..size.streams {
            let at = loop {
                let (heard, at) = heard.recv_timeout(PATIENCE).expect("every stream is told");
                if heard == address {
                    break at;
                }
            };
            latencies.push(at - begun);
        }
    }
    latencies.sort();
    latencies
}

/// Acknowledges every update, and tells which address has come and when, until the control plane ends.
fn follow(mut proxy: FakeProxy, told: &mpsc::Sender<([u8; 4], Instant)>) {
    while let Ok(message) = proxy.receive() {
        let at = Instant::now();
        let ToProxy::Update(update) = message else { continue };
        proxy.ack(&update);
        for item in &update.items {
            let body = ItemBody::decode(&*item.body).expect("an item");
            for endpoint in body.endpoints.into_iter().flat_map(|endpoints| endpoints.upserts) {
                if let Ok(address) = <[u8; 4]>::try_from(&*endpoint.ip)
                    && told.send((address, at)).is_err()
                {
                    return;
                }
            }
        }
    }
}

/// Resident memory in MiB.
fn memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a running process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

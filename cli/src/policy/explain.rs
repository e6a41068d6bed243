//! `wasmesh policy explain`: the last picks of a policy in a running proxy.

use std::{collections::BTreeMap, fmt::Write, net::SocketAddr, process::ExitCode};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{
    admin::{self, AdminAddr},
    commands::{ask, find, print, print_json},
    options::{self, Output},
    pages::{self, Snapshot},
    table::Table,
};

/// The page `/debug/picks` of a proxy.
#[derive(Debug, Deserialize)]
struct Page {
    service: String,
    port: u16,
    policy: String,
    module: String,
    decided: u64,
    fallbacks: u64,
    reads_strings: bool,
    copyable: bool,
    silent_workers: usize,
    picks: Vec<Pick>,
}

#[derive(Debug, Deserialize)]
struct Pick {
    ago_ms: u64,
    by: String,
    why: String,
    attempt: Option<u32>,
    keys: Option<BTreeMap<String, Option<String>>>,
    avoid: Option<String>,
    endpoint: Option<Endpoint>,
    alternate: Option<String>,
    runner_up: Option<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    address: SocketAddr,
    in_flight: u32,
    latency_us: f64,
    failure_rate: u32,
}

/// Asks the proxy and prints.
pub(super) fn run(options: &options::ExplainPolicy) -> anyhow::Result<ExitCode> {
    ask(&options.from.whom, |addr| of(addr, options))
}

fn of(addr: &AdminAddr, options: &options::ExplainPolicy) -> anyhow::Result<ExitCode> {
    let Snapshot::Proxy(proxy) = pages::recognise(addr, &admin::page(addr, "/debug/snapshot")?)? else {
        bail!("{addr} is a control plane: policies pick in proxies, so ask a proxy's admin address");
    };
    let service = &find(&proxy, &options.service)?.service;
    let port = options.port.map_or_else(String::new, |port| format!("&port={port}"));
    let answer = admin::get(addr, &format!("/debug/picks?service={service}{port}&last={}", options.last))?;
    if answer.status != 200 {
        bail!("{addr}: {}", answer.body.trim());
    }
    let page: serde_json::Value =
        serde_json::from_str(&answer.body).with_context(|| format!("{addr} does not explain as a proxy does"))?;
    match options.from.output {
        Output::Json => print_json(&page),
        Output::Table => print(&text(&pages::read(addr, page)?)),
    }
}

fn text(page: &Page) -> String {
    let Page { service, port, policy, module, decided, fallbacks, reads_strings, copyable, silent_workers, picks } =
        page;
    let module: String = module.chars().take(12).collect();
    let mut text = format!(
        "{service} port {port}, policy {policy} (module {module}): {decided} picks, {fallbacks} left to the built-in one\n"
    );
    if *silent_workers > 0 {
        let _ = writeln!(text, "too busy to answer, so that their picks are missing: {silent_workers} of the workers");
    }
    if picks.is_empty() {
        text += "no request has come since this policy serves here\n";
        return text;
    }
    let mut table = Table::new(["AGO", "GIVEN", "ENDPOINT", "LOAD", "RUNNER-UP", "ITS-LOAD", "BY", "WHY"]);
    picks.iter().for_each(|pick| table.row(row(pick)));
    let _ = write!(text, "{table}");
    text += "load: requests under way / average latency / failures of 1000, at the time of the pick and without it; the runner-up's: now\n";
    if *reads_strings {
        text += "the policy reads strings of requests, which are not remembered: it cannot be asked who was next\n";
    } else if !copyable {
        text += "the module's state cannot be copied (see `wasmesh policy check`): it cannot be asked who was next\n";
    }
    text
}

fn row(pick: &Pick) -> [String; 8] {
    let next = pick.runner_up.as_ref().map(|endpoint| endpoint.address.to_string()).or_else(|| pick.alternate.clone());
    [
        ago(pick.ago_ms),
        given(pick),
        pick.endpoint.as_ref().map(|endpoint| endpoint.address.to_string()).unwrap_or_default(),
        pick.endpoint.as_ref().map(load).unwrap_or_default(),
        next.unwrap_or_default(),
        pick.runner_up.as_ref().map(load).unwrap_or_default(),
        pick.by.clone(),
        pick.why.clone(),
    ]
}

/// What was given beside time and random bits: keys, and what has failed before.
fn given(pick: &Pick) -> String {
    let keys = pick.keys.iter().flatten().map(|(word, hash)| match hash {
        // The beginning of a hash tells keys apart.
        Some(hash) => format!("{word}={}", hash.chars().take(6).collect::<String>()),
        None => format!("{word}="),
    });
    let again = pick.attempt.filter(|attempt| *attempt > 0).map(|attempt| format!("attempt={}", attempt + 1));
    let avoid = pick.avoid.iter().map(|address| format!("not={address}"));
    keys.chain(again).chain(avoid).collect::<Vec<_>>().join(",")
}

fn load(endpoint: &Endpoint) -> String {
    let Endpoint { in_flight, latency_us, failure_rate, .. } = endpoint;
    format!("{in_flight}/{:.1}ms/{failure_rate}", latency_us / 1_000.0)
}

fn ago(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{:.1}s", ms as f64 / 1_000.0),
        _ => format!("{}min", ms / 60_000),
    }
}

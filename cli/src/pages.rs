//! The debug pages of proxy and control plane, as far as they are shown.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, bail};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::admin::{self, AdminAddr};

/// `/debug/snapshot`: whoever is asked says by it what it is.
pub(crate) enum Snapshot {
    Proxy(ProxySnapshot),
    ControlPlane(ControlPlaneSnapshot),
}

#[derive(Debug, Deserialize)]
pub(crate) struct ProxySnapshot {
    pub(crate) proxy: String,
    pub(crate) ready: bool,
    pub(crate) complete: bool,
    pub(crate) control_plane: String,
    pub(crate) connected_to: Option<String>,
    pub(crate) last_error: Option<String>,
    pub(crate) rejected: Vec<Rejected>,
    pub(crate) services: Vec<ProxyService>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Rejected {
    pub(crate) service: String,
    pub(crate) version: String,
    pub(crate) reason: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ProxyService {
    pub(crate) service: String,
    pub(crate) kind: String,
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) ports: Vec<ProxyPort>,
    pub(crate) subscribed: bool,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ProxyPort {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) transport: String,
    pub(crate) protocol: String,
    pub(crate) policy: String,
    pub(crate) reachable: Vec<String>,
}

/// `/debug/endpoints` of a proxy.
#[derive(Debug, Deserialize)]
pub(crate) struct ProxyEndpoints {
    pub(crate) services: Vec<BalancedPort>,
}

/// One port of a service over one IP family: what a policy chooses from.
#[derive(Debug, Deserialize)]
pub(crate) struct BalancedPort {
    pub(crate) service: String,
    pub(crate) port: u16,
    pub(crate) port_name: String,
    pub(crate) family: String,
    pub(crate) policy: String,
    pub(crate) endpoints: Vec<BalancedEndpoint>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct BalancedEndpoint {
    pub(crate) address: SocketAddr,
    pub(crate) zone: String,
    pub(crate) node: String,
    pub(crate) weight: u32,
    pub(crate) priority: u32,
    pub(crate) candidate: bool,
    /// It keeps failing and has a pause. Older proxies do not say.
    #[serde(default)]
    pub(crate) ejected: bool,
    pub(crate) in_flight: u64,
    pub(crate) latency_us: f64,
}

impl BalancedEndpoint {
    /// Whether a request may go there now. The others are left out, at least while most of them are not ejected.
    pub(crate) fn is_available(&self) -> bool {
        self.candidate && !self.ejected
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct ControlPlaneSnapshot {
    pub(crate) version: Option<String>,
    pub(crate) sequence: u64,
    pub(crate) services: Vec<PublishedService>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PublishedService {
    pub(crate) service: String,
    pub(crate) kind: String,
    pub(crate) vips: Vec<IpAddr>,
    pub(crate) ports: Vec<PublishedPort>,
    pub(crate) endpoints: Vec<PublishedEndpoint>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PublishedPort {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) policy: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct PublishedEndpoint {
    pub(crate) port: String,
    pub(crate) ready: bool,
}

/// `/debug/streams` of a control plane.
#[derive(Debug, Deserialize)]
pub(crate) struct Streams {
    pub(crate) sequence: u64,
    pub(crate) streams: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Stream {
    pub(crate) proxy: String,
    pub(crate) node: String,
    pub(crate) zone: String,
    pub(crate) software: String,
    pub(crate) connected_seconds: u64,
    /// Whether it has acknowledged the newest state.
    pub(crate) current: bool,
    pub(crate) subscriptions: u64,
    pub(crate) rejected: Vec<Rejected>,
}

/// `/debug/problems` of a control plane.
#[derive(Debug, Deserialize)]
pub(crate) struct Problems {
    pub(crate) problems: Vec<Problem>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Problem {
    pub(crate) object: Option<String>,
    pub(crate) place: String,
    pub(crate) reason: String,
}

/// `/debug/policies` of a control plane.
#[derive(Debug, Deserialize)]
pub(crate) struct Policies {
    pub(crate) policies: Vec<Policy>,
}

/// A policy object and what has become of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Policy {
    pub(crate) policy: String,
    pub(crate) accepted: Condition,
    pub(crate) resolved_refs: Condition,
    pub(crate) serving: Option<Serving>,
    pub(crate) targets: Vec<Target>,
    pub(crate) proxies: OnProxies,
    pub(crate) candidate: Option<Candidate>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Condition {
    pub(crate) status: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// What of a policy is in effect.
#[derive(Debug, Deserialize)]
pub(crate) struct Serving {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) program: Option<Program>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Program {
    pub(crate) module: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) service: String,
    pub(crate) governs: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Candidate {
    pub(crate) condition: Condition,
    pub(crate) mode: String,
    pub(crate) percent: u8,
    pub(crate) program: Program,
    pub(crate) proxies: OnProxies,
}

/// What the proxies make of a policy or candidate.
#[derive(Debug, Deserialize)]
pub(crate) struct OnProxies {
    pub(crate) subscribed: u64,
    pub(crate) programmed: u64,
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) faults: BTreeMap<String, u64>,
    pub(crate) fallbacks: u64,
    pub(crate) compared: u64,
    pub(crate) disagreed: u64,
}

/// What is wrong on some proxies; not all of them may be named.
#[derive(Debug, Deserialize)]
pub(crate) struct Trouble {
    phase: String,
    reason: String,
    count: usize,
    proxies: Vec<String>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { phase, reason, count, proxies } = self;
        write!(f, "{phase} by {}", proxies.join(", "))?;
        match count.saturating_sub(proxies.len()) {
            0 => write!(f, ": {reason}"),
            more => write!(f, " and {more} more: {reason}"),
        }
    }
}

/// Recognises who has answered by what only that one says.
pub(crate) fn recognise(addr: &AdminAddr, page: &Value) -> anyhow::Result<Snapshot> {
    if page.get("proxy").is_some() {
        Ok(Snapshot::Proxy(read(addr, page.clone())?))
    } else if page.get("sequence").is_some() {
        Ok(Snapshot::ControlPlane(read(addr, page.clone())?))
    } else {
        bail!("{addr} is not a wasmesh admin port: its /debug/snapshot is neither a proxy's nor a control plane's")
    }
}

/// Gets a page and reads it.
pub(crate) fn fetch<T: DeserializeOwned>(addr: &AdminAddr, path: &str) -> anyhow::Result<T> {
    read(addr, admin::page(addr, path)?)
}

pub(crate) fn read<T: DeserializeOwned>(addr: &AdminAddr, page: Value) -> anyhow::Result<T> {
    serde_json::from_value(page).with_context(|| {
        format!(
            "{addr} runs another version than this wasmesh ({}): its page reads differently",
            env!("CARGO_PKG_VERSION")
        )
    })
}

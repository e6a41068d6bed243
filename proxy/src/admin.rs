//! The proxy's debug pages.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use wasmesh_core::{
    load::EndpointLoad,
    name::ServiceName,
    policy::Balancer,
    service::{Family, ServiceKind},
    table::Held,
};
use wasmesh_telemetry::{Admin, Listing, Metrics, Query, Readiness};

use crate::{
    clock::now_us,
    discovery::SharedStatus,
    owners::{PodConnections, Reached},
    policy::{
        recording,
        status::{self, PolicyStatus},
        wishes::{Meant, Refused, Wishes},
    },
    world::{LiveService, World, Worlds},
};

/// Whether the proxy may get traffic: once the first complete state is in, or the control plane has had its chance. It
/// does not fall back: a proxy without a control plane goes on with what it has.
#[derive(Clone)]
pub struct ProxyReadiness {
    worlds: Worlds,
    grace_ends: Instant,
}

impl ProxyReadiness {
    /// Ready when `worlds` has a complete one or `grace` is over.
    pub fn new(worlds: Worlds, grace: Duration) -> Self {
        Self { worlds, grace_ends: Instant::now() + grace }
    }

    fn is_ready(&self) -> bool {
        self.worlds.borrow().complete || Instant::now() >= self.grace_ends
    }
}

/// What is said of a Service with a virtual address whose pods are reached without it.
const PAST_THE_POLICY: &str = "connections to the addresses of its pods were passed through, and its policy had no say: the network \
    balances before us (inside of connect()), or clients have pods' addresses from elsewhere, as from a headless Service";

/// What the pages are about.
pub struct Shown {
    /// The proxy's name.
    pub name: String,
    /// URL of its control plane.
    pub control_plane: String,
    /// What it knows.
    pub worlds: Worlds,
    /// How it stands with the control plane.
    pub status: SharedStatus,
    /// What has become of policies.
    pub policies: watch::Receiver<PolicyStatus>,
    /// Connections past the policies.
    pub pod_connections: PodConnections,
    /// The way to see what policies do.
    pub wishes: Wishes,
}

/// The admin server with all pages.
pub fn pages(metrics: Metrics, readiness: ProxyReadiness, shown: Shown) -> Admin {
    let Shown { name, control_plane, worlds, status, policies, pod_connections, wishes } = shown;
    let (asked, for_endpoints) = (readiness.clone(), worlds.clone());
    let ready = move || match asked.is_ready() {
        true => Readiness::Ready,
        false => Readiness::NotReady("the first state of the control plane has not come yet".to_owned()),
    };
    Admin::new(metrics, ready)
        .page("/debug/snapshot", move |_| {
            let status = status.get();
            let world = worlds.borrow().clone();
            let rejected = status.rejected.iter().map(|(name, rejected)| {
                json!({
                    "service": name.as_str(),
                    "version": rejected.versions.entry.to_string(),
                    "reason": rejected.reason,
                })
            });
            let head = [
                ("proxy", json!(name)),
                ("ready", json!(readiness.is_ready())),
                ("complete", json!(world.complete)),
                ("world", json!(world.generation)),
                ("control_plane", json!(control_plane)),
                ("connected_to", json!(status.connected_to)),
                ("last_error", json!(status.last_error)),
                ("subscriptions", json!(status.subscriptions)),
                ("rejected", rejected.collect()),
            ];
            let head = head.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let pod_connections = pod_connections.list();
            let rows = move |row: &mut dyn FnMut(Value)| services(&world, &pod_connections, row);
            Listing { head, name: "services", rows }
        })
        .page("/debug/policies", move |_| status::page(&policies.borrow()))
        .page("/debug/endpoints", move |query| endpoints(&for_endpoints.borrow().clone(), query))
        .stream("/debug/recording", {
            let wishes = wishes.clone();
            move |query| {
                let (wishes, order) = (wishes.clone(), recording_order(query));
                Box::pin(async move {
                    let order = order.map_err(|why| (StatusCode::BAD_REQUEST, why))?;
                    wishes.record(order).await.map_err(refusal)
                })
            }
        })
        .stream("/debug/picks", move |query| {
            let (wishes, meant, last) = (wishes.clone(), meant(query), number(query, "last", LAST, LAST));
            Box::pin(async move {
                let meant = meant.map_err(|why| (StatusCode::BAD_REQUEST, why))?;
                let last = last.map_err(|why| (StatusCode::BAD_REQUEST, why))?;
                let page = wishes.explain(meant, usize::try_from(last).unwrap_or(usize::MAX)).await.map_err(refusal)?;
                Ok(whole(format!("{page:#}\n")).await)
            })
        })
}

/// A page that takes a moment and then comes whole.
async fn whole(page: String) -> mpsc::Receiver<Bytes> {
    let (sender, page_to_read) = mpsc::channel(1);
    // There is room for one.
    let _ = sender.send(page.into()).await;
    page_to_read
}

fn refusal(refused: Refused) -> (StatusCode, String) {
    match refused {
        Refused::NotThere(why) => (StatusCode::NOT_FOUND, why),
        Refused::NotNow(why) => (StatusCode::CONFLICT, why),
    }
}

/// Which policy a query means.
fn meant(query: &Query) -> Result<Meant, String> {
    let service = query.get("service").ok_or("which Service? Ask with ?service=NAMESPACE/NAME")?;
    let service = service.parse().map_err(|_| format!("service={service}: expected NAMESPACE/NAME"))?;
    let port = query.get("port").map(|port| port.parse().map_err(|_| format!("port={port}: expected a port")));
    Ok(Meant { service, port: port.transpose()? })
}

/// How many picks are recorded, and for how long, unless the query says otherwise.
const PICKS: u64 = 1_000;
const SECONDS: u64 = 60;

/// How many picks are explained at most.
const LAST: u64 = 1_000;

fn number(query: &Query, name: &str, default: u64, max: u64) -> Result<u64, String> {
    match query.get(name) {
        None => Ok(default),
        Some(text) => match text.parse() {
            Ok(number) if (1..=max).contains(&number) => Ok(number),
            _ => Err(format!("{name}={text}: expected a number from 1 to {max}")),
        },
    }
}

fn recording_order(query: &Query) -> Result<recording::Order, String> {
    let meant = meant(query)?;
    let picks = number(query, "picks", PICKS, recording::MAX_PICKS)?;
    let time = Duration::from_secs(number(query, "seconds", SECONDS, recording::MAX_TIME.as_secs())?);
    Ok(recording::Order { meant, picks, time })
}

fn services(world: &World, pod_connections: &BTreeMap<ServiceName, Reached>, row: &mut dyn FnMut(Value)) {
    let mut rows: Vec<_> = world.table.iter().collect();
    rows.sort_by_key(|(name, _)| *name);
    let connections = |name| pod_connections.get(name).copied().unwrap_or_default();
    rows.into_iter().for_each(|(name, held)| row(service(name, held, connections(name))));
}

fn service(name: &ServiceName, held: &Held, reached: Reached) -> Value {
    let entry = &held.entry.value;
    let kind = match entry.spec.kind {
        ServiceKind::ClusterIp { .. } => "ClusterIP",
        ServiceKind::Headless => "Headless",
        ServiceKind::ExternalName { .. } => "ExternalName",
    };
    let ports = entry.spec.ports.iter().enumerate().map(|(at, port)| {
        let families = [Family::V4, Family::V6].into_iter().filter(|family| entry.reach.is_reachable(at, *family));
        json!({
            "name": port.name,
            "port": port.port,
            "transport": format!("{:?}", port.transport),
            "protocol": format!("{:?}", port.protocol),
            "policy": port.policy.name(),
            "reachable": families.map(|family| family.to_string()).collect::<Vec<_>>(),
        })
    });
    json!({
        "service": name.as_str(),
        "kind": kind,
        "vips": entry.spec.vips(),
        "ports": ports.collect::<Vec<_>>(),
        "subscribed": held.endpoints.is_some(),
        "version": held.entry.version.to_string(),
        "pod_connections": reached.connections,
        "note": (reached.past_policy > 0).then_some(PAST_THE_POLICY),
    })
}

fn endpoints(world: &World, query: &Query) -> Value {
    let wanted = query.get("service");
    let mut rows: Vec<_> = world.live.iter().filter(|(name, _)| wanted.is_none_or(|w| w == name.as_str())).collect();
    rows.sort_by_key(|(name, _)| *name);
    let pages = rows.into_iter().filter_map(|(name, live)| Some((name, live, world.table.get(name)?)));
    json!({ "services": pages.flat_map(|(name, live, held)| ports(name, live, held)).collect::<Vec<_>>() })
}

fn ports(name: &ServiceName, live: &LiveService, held: &Held) -> Vec<Value> {
    let ports = held.entry.value.spec.ports.iter().enumerate();
    let families = ports.flat_map(|(at, port)| [Family::V4, Family::V6].map(|family| (at, port, family)));
    families
        .filter_map(|(at, port, family)| {
            let mine = |address: std::net::SocketAddr| Family::of(address.ip()) == family;
            let all = held.endpoints.as_ref()?.iter().filter(|e| e.port == port.name && mine(e.address));
            let balancer = live.balancer(at, family);
            let rows: Vec<_> = all.map(|endpoint| endpoint_row(endpoint, live, balancer.map(|b| &**b))).collect();
            (!rows.is_empty()).then(|| {
                json!({
                    "service": name.as_str(),
                    "port": port.port,
                    "port_name": port.name,
                    "family": family.to_string(),
                    "policy": port.policy.name(),
                    "endpoints": rows,
                })
            })
        })
        .collect()
}

fn endpoint_row(endpoint: &wasmesh_core::endpoint::Endpoint, live: &LiveService, balancer: Option<&Balancer>) -> Value {
    let load = live.loads().iter().find(|(id, _)| *id == endpoint.id).map(|(_, load)| load);
    let is_candidate = balancer.is_some_and(|b| b.candidates().iter().any(|c| c.endpoint.id == endpoint.id));
    json!({
        "id": endpoint.id.to_string(),
        "address": endpoint.address,
        "zone": endpoint.zone,
        "node": endpoint.node,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "candidate": is_candidate,
        "ejected": load.is_some_and(|load| load.health().is_ejected(now_us())),
        "in_flight": load.map_or(0, |load| EndpointLoad::in_flight(load)),
        "latency_us": load.map_or(0.0, |load| load.latency_us(now_us())).round(),
    })
}

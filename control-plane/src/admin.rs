//! The control plane's debug pages.

mod policies;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use wasmesh_core::{
    endpoint::Endpoint,
    service::{Affinity, InternalTraffic, Service, ServiceKind},
};
use wasmesh_telemetry::{Admin, Listing, Metrics, Readiness};

use crate::{
    findings::Findings,
    published::Latest,
    run::Core,
    server::{StreamStatus, Streams},
};

/// The admin server with all pages.
pub(crate) fn pages(metrics: Metrics, core: &Core, is_open: watch::Receiver<bool>) -> Admin {
    let Core { latest, streams, .. } = core;
    let (for_readiness, for_snapshot, for_streams) = (latest.clone(), latest.clone(), latest.clone());
    let (proxies, streams) = (streams.clone(), streams.clone());
    let Findings { problems, policies, .. } = core.findings.clone();
    let can_inject = core.can_inject.subscribe();
    let readiness = move || match (&*for_readiness.borrow(), *is_open.borrow(), *can_inject.borrow()) {
        (Some(_), true, true) => Readiness::Ready,
        (None, _, _) => Readiness::NotReady(
            "the source has not been read yet, or modules of its policies are being fetched".to_owned(),
        ),
        (_, false, _) => Readiness::NotReady("there is no certificate to serve proxies with yet".to_owned()),
        (_, _, false) => Readiness::NotReady(
            "the injector cannot answer yet: it waits for the API server's version and namespaces".to_owned(),
        ),
    };
    Admin::new(metrics, readiness)
        .page("/debug/snapshot", move |_| snapshot(&for_snapshot))
        .page("/debug/streams", move |_| list_streams(&for_streams, &streams))
        .page("/debug/policies", move |_| policies::page(&policies.list(), &proxies.list()))
        .page("/debug/problems", move |_| json!({ "problems": problems.list() }))
}

fn snapshot(latest: &Latest) -> impl Serialize + use<> {
    let published = latest.borrow().clone();
    let (version, sequence) =
        published.as_ref().map_or((None, 0), |latest| (Some(latest.version.to_string()), latest.sequence));
    let head = [("version", json!(version)), ("sequence", json!(sequence))];
    let rows = move |row: &mut dyn FnMut(Value)| {
        let mut services: Vec<_> = published.iter().flat_map(|latest| latest.snapshot.iter()).collect();
        services.sort_by_key(|(name, _)| *name);
        services.into_iter().for_each(|(_, service)| row(service_page(service)));
    };
    Listing { head: head.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(), name: "services", rows }
}

fn service_page(service: &Service) -> Value {
    let spec = &service.spec.value;
    let (kind, external_name) = match &spec.kind {
        ServiceKind::ClusterIp { .. } => ("ClusterIP", None),
        ServiceKind::Headless => ("Headless", None),
        ServiceKind::ExternalName { target } => ("ExternalName", Some(target)),
    };
    let affinity_seconds = match spec.affinity {
        Affinity::None => None,
        Affinity::ClientIp { timeout_seconds } => Some(timeout_seconds),
    };
    let ports = spec.ports.iter().map(|port| {
        json!({
            "name": port.name,
            "port": port.port,
            "transport": format!("{:?}", port.transport),
            "protocol": format!("{:?}", port.protocol),
            "policy": port.policy.name(),
        })
    });
    json!({
        "service": spec.name.as_str(),
        "kind": kind,
        "external_name": external_name,
        "vips": spec.vips(),
        "affinity_seconds": affinity_seconds,
        "local_traffic_only": spec.internal_traffic == InternalTraffic::Local,
        "ports": ports.collect::<Vec<_>>(),
        "spec_version": service.spec.version.to_string(),
        "endpoints_version": service.endpoints.version().to_string(),
        "endpoints": service.endpoints.iter().map(|endpoint| endpoint_page(endpoint)).collect::<Vec<_>>(),
    })
}

fn endpoint_page(endpoint: &Endpoint) -> Value {
    json!({
        "id": endpoint.id.to_string(),
        "port": endpoint.port,
        "address": endpoint.address,
        "weight": endpoint.weight,
        "priority": endpoint.priority,
        "zone": endpoint.zone,
        "node": endpoint.node,
        "hostname": endpoint.hostname,
        "labels": endpoint.labels,
        "ready": endpoint.conditions.ready,
        "serving": endpoint.conditions.serving,
        "terminating": endpoint.conditions.terminating,
        "hinted_zones": endpoint.hints.zones,
        "hinted_nodes": endpoint.hints.nodes,
    })
}

fn list_streams(latest: &Latest, streams: &Streams) -> Value {
    let latest = latest.borrow().as_ref().map(|published| (published.sequence, published.version));
    let rows = streams.list().into_iter().map(|status| stream_page(&status, latest.map(|(sequence, _)| sequence)));
    json!({
        "version": latest.map(|(_, version)| version.to_string()),
        "sequence": latest.map_or(0, |(sequence, _)| sequence),
        "streams": rows.collect::<Vec<_>>(),
    })
}

fn stream_page(status: &StreamStatus, latest: Option<u64>) -> Value {
    let rejected = status.rejected.iter().map(|(name, rejected)| {
        json!({ "service": name.as_str(), "version": rejected.versions.entry.to_string(), "reason": rejected.reason })
    });
    json!({
        "proxy": status.node.proxy,
        "namespace": status.node.namespace,
        "node": status.node.node,
        "zone": status.node.zone,
        "software": status.node.version,
        "connected_seconds": status.since.elapsed().as_secs(),
        "acknowledged": status.acknowledged.map(|(_, version)| version.to_string()),
        "current": status.is_current(latest),
        "subscriptions": status.subscriptions.len(),
        "rejected": rejected.collect::<Vec<_>>(),
    })
}

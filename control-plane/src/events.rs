//! What the control plane says of itself: each event is one function that writes its log line and counts it.

use std::{collections::HashSet, time::Instant};

use metrics::{counter, gauge};
use wasmesh_core::{name::ServiceName, policy::ModuleDigest};
use wasmesh_proto::{session::Rejected, wire};
use wasmesh_telemetry::Metrics;

use crate::{
    policies::reports::{is_trouble, phase_name},
    published::Published,
    source::kube::scope::Scope,
    translate::{
        Problem,
        policy::{Condition, PolicyStatus, Reason},
    },
};

const PROPAGATION: &str = "wasmesh_control_plane_propagation_seconds";

/// Gives every metric its help text and its zero, so that a dashboard shows what has not happened yet.
pub fn describe(metrics: &Metrics) {
    metrics::describe_gauge!("wasmesh_control_plane_streams", "Proxies connected.");
    metrics::describe_gauge!("wasmesh_control_plane_services", "Services published.");
    metrics::describe_gauge!("wasmesh_control_plane_endpoints", "Endpoints published, over all Services.");
    metrics::describe_gauge!("wasmesh_control_plane_problems", "Objects that are wrong, in whole or in part.");
    metrics::describe_counter!("wasmesh_control_plane_published_total", "Snapshots published.");
    metrics::describe_counter!("wasmesh_control_plane_updates_total", "Updates sent to proxies.");
    metrics::describe_counter!("wasmesh_control_plane_rejected_resources_total", "Resources that a proxy rejected.");
    metrics::describe_counter!("wasmesh_control_plane_streams_ended_total", "Streams that ended, by reason.");
    metrics::describe_counter!(
        "wasmesh_control_plane_module_downloads_total",
        "Modules that proxies fetched, by result."
    );
    metrics::describe_gauge!("wasmesh_control_plane_policies", "Policy objects, by what has become of them.");
    metrics::describe_counter!("wasmesh_control_plane_trials_aborted_total", "Candidates taken back for their faults.");
    metrics::describe_counter!(
        "wasmesh_control_plane_policy_troubles_total",
        "Policies that a proxy rejected, quarantined or gave up, by phase."
    );
    metrics.histograms().describe(
        PROPAGATION,
        "From a snapshot being published, or a proxy having connected since, to the proxy having acknowledged it.",
    );
    metrics::describe_counter!("wasmesh_control_plane_status_writes_total", "Statuses of policies written.");
    metrics::describe_counter!(
        "wasmesh_control_plane_watch_failures_total",
        "Watches of the API server that broke or could not be begun, by resource."
    );
    gauge!("wasmesh_control_plane_streams").set(0);
    gauge!("wasmesh_control_plane_problems").set(0);
    counter!("wasmesh_control_plane_trials_aborted_total").absolute(0);
    count_policies(&[]);
    counter!("wasmesh_control_plane_updates_total").absolute(0);
    counter!("wasmesh_control_plane_rejected_resources_total").absolute(0);
}

/// A snapshot was handed to the streams.
pub fn published(published: &Published, endpoints: usize) {
    let services = published.snapshot.len();
    counter!("wasmesh_control_plane_published_total").increment(1);
    gauge!("wasmesh_control_plane_services").set(services as f64);
    gauge!("wasmesh_control_plane_endpoints").set(endpoints as f64);
    tracing::info!(sequence = published.sequence, version = %published.version, services, endpoints, "published");
}

/// The status of a policy has been written.
pub fn status_written() {
    counter!("wasmesh_control_plane_status_writes_total").increment(1);
}

/// A watch of the API server has broken or could not be begun. Once there is something to serve, its being broken is a
/// problem like others, and logged as such; before, nothing else would say what everybody waits for.
pub fn watch_failed(scope: &Scope, reason: &str, is_serving: bool) {
    counter!("wasmesh_control_plane_watch_failures_total", "resource" => scope.resource()).increment(1);
    if is_serving {
        tracing::debug!("{scope} cannot be followed: {reason}");
    } else {
        tracing::warn!("{scope} cannot be read yet: {reason}");
    }
}

/// The list of problems is another one than before. Each is logged once, when it comes and when it goes.
pub fn problems_changed(before: &[Problem], now: &[Problem]) {
    gauge!("wasmesh_control_plane_problems").set(now.len() as f64);
    let text = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<HashSet<_>>();
    let (before, now) = (text(before), text(now));
    for problem in now.difference(&before) {
        tracing::warn!("{problem}");
    }
    for mended in before.difference(&now) {
        tracing::info!("mended: {mended}");
    }
}

/// What has become of policies is something else than before. Each finding is logged once, when it comes and when it goes.
pub fn policies_changed(before: &[PolicyStatus], now: &[PolicyStatus]) {
    count_policies(now);
    let aborted = |statuses: &[PolicyStatus]| -> HashSet<_> {
        let aborted = statuses.iter().filter(|status| status.candidate.as_ref().is_some_and(|it| !it.status));
        aborted.map(|status| status.object.clone()).collect()
    };
    let newly = aborted(now).difference(&aborted(before)).count();
    counter!("wasmesh_control_plane_trials_aborted_total").increment(newly as u64);
    let (before, now) = (policy_findings(before), policy_findings(now));
    for finding in now.difference(&before) {
        tracing::warn!("{finding}");
    }
    for mended in before.difference(&now) {
        tracing::info!("mended: {mended}");
    }
}

fn count_policies(statuses: &[PolicyStatus]) {
    let count = |state, is_so: fn(&PolicyStatus) -> bool| {
        let count = statuses.iter().filter(|status| is_so(status)).count();
        gauge!("wasmesh_control_plane_policies", "state" => state).set(count as f64);
    };
    count("accepted", |status| status.accepted.status && status.resolved_refs.status);
    count("not_accepted", |status| !status.accepted.status);
    count("unresolved", |status| status.accepted.status && !status.resolved_refs.status);
}

fn policy_findings(statuses: &[PolicyStatus]) -> HashSet<String> {
    let conditions = statuses.iter().flat_map(|status| {
        let conditions = [Some(&status.accepted), Some(&status.resolved_refs), status.candidate.as_ref()];
        conditions.into_iter().flatten().map(move |condition| (&status.object, condition))
    });
    // That something is being fetched is no finding.
    let is_finding = |condition: &Condition| !condition.message.is_empty() && condition.reason != Reason::Pending;
    let said = conditions.filter(|(_, condition)| is_finding(condition));
    said.map(|(object, condition)| format!("{object}: {}: {}", condition.reason.as_str(), condition.message)).collect()
}

/// A proxy has said what has become of its policies. What is newly wrong is logged.
pub fn policies_reported(node: &wire::Node, before: &[wire::PolicyState], now: &[wire::PolicyState]) {
    let is_same = |a: &wire::PolicyState, b: &wire::PolicyState| {
        (&a.service, &a.port, &a.policy, &a.module, a.trial, a.phase, &a.reason)
            == (&b.service, &b.port, &b.policy, &b.module, b.trial, b.phase, &b.reason)
    };
    let known: Vec<_> = before.iter().filter(|state| is_trouble(state)).collect();
    for state in now.iter().filter(|state| is_trouble(state) && !known.iter().any(|known| is_same(known, state))) {
        let (proxy, phase) = (&node.proxy, phase_name(state));
        let wire::PolicyState { service, port, policy, reason, .. } = state;
        counter!("wasmesh_control_plane_policy_troubles_total", "phase" => phase).increment(1);
        tracing::warn!(proxy, service, port, policy, phase, "a policy does not run on a proxy: {reason}");
    }
}

/// A proxy has opened a stream.
pub fn stream_opened(node: &wire::Node) {
    gauge!("wasmesh_control_plane_streams").increment(1);
    tracing::info!(proxy = node.proxy, node = node.node, zone = node.zone, version = node.version, "proxy connected");
}

/// A stream that had been opened has ended.
pub fn stream_closed(node: &wire::Node, reason: &str, detail: &str) {
    gauge!("wasmesh_control_plane_streams").decrement(1);
    stream_ended(&node.proxy, reason, detail);
}

/// A stream has ended, opened or not.
pub fn stream_ended(proxy: &str, reason: &str, detail: &str) {
    counter!("wasmesh_control_plane_streams_ended_total", "reason" => reason.to_owned()).increment(1);
    tracing::info!(proxy, reason, "stream ended: {detail}");
}

/// An update has been sent.
pub fn update_sent() {
    counter!("wasmesh_control_plane_updates_total").increment(1);
}

/// A proxy will not take a resource.
pub fn rejected(node: &wire::Node, name: &ServiceName, rejected: &Rejected) {
    counter!("wasmesh_control_plane_rejected_resources_total").increment(1);
    tracing::warn!(proxy = node.proxy, service = %name, "the proxy rejects this version of the service: {}", rejected.reason);
}

/// A proxy that has been connected since `connected` has everything of a snapshot.
pub fn acknowledged(metrics: &Metrics, published: &Published, connected: Instant) {
    // How old the snapshot was when the proxy came says nothing about how fast it travelled.
    let micros = u64::try_from(published.at.max(connected).elapsed().as_micros()).unwrap_or(u64::MAX);
    metrics.histograms().get(PROPAGATION, &[]).record(micros);
}

/// A proxy fetches a module.
pub fn module_sent(digest: &ModuleDigest, bytes: usize) {
    counter!("wasmesh_control_plane_module_downloads_total", "result" => "sent").increment(1);
    tracing::debug!(%digest, bytes, "a proxy fetches a module");
}

/// A proxy asks for a module that is not there.
pub fn module_unknown(digest: &ModuleDigest) {
    counter!("wasmesh_control_plane_module_downloads_total", "result" => "unknown").increment(1);
    tracing::info!(%digest, "a proxy asks for a module that no policy names");
}

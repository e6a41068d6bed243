//! What the proxy says of itself: each event is one function that writes its log line and counts it. What is counted for
//! each request is in [`crate::service_metrics`].
//!
//! Nothing that balances load is read from here.

use std::{
    fmt::Display,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use metrics::{Gauge, counter, gauge};
use wasmesh_core::{name::ServiceName, name_map::NameMap, policy::ModuleDigest};
use wasmesh_policy_host::{CallPath, LogLevel};
use wasmesh_proto::session::Rejected;
use wasmesh_telemetry::Metrics;

use crate::{
    clock::now_us,
    destination::Destination,
    http::ErrorReason,
    owners::Way,
    policy::{notes::Place, record::Consequence},
    service_metrics,
    tcp::{ConnectError, Relayed},
    world::{LiveService, World},
};

/// Gives every metric its help text and its zero.
pub fn describe(metrics: &Metrics) {
    use metrics::{describe_counter, describe_gauge};
    describe_counter!("wasmesh_requests_total", "Requests answered, by class of the response.");
    describe_counter!("wasmesh_responses_broken_total", "Responses that an endpoint broke off in the middle.");
    describe_counter!("wasmesh_responses_abandoned_total", "Responses whose client went away before their end.");
    describe_counter!("wasmesh_errors_total", "Requests to a Service that the proxy had to answer itself, by reason.");
    describe_counter!("wasmesh_own_answers_total", "All answers that the proxy gave itself, by reason.");
    describe_counter!("wasmesh_connect_failures_total", "Connections to endpoints that failed.");
    describe_counter!(
        "wasmesh_socket_shortages_total",
        "Times that no socket was left for a connection to an endpoint."
    );
    describe_counter!("wasmesh_policy_picks_total", "Choices of an endpoint, first ones and retries.");
    describe_counter!("wasmesh_policy_faults_total", "Failures of users' policies, by reason.");
    describe_counter!("wasmesh_policy_fallbacks_total", "Choices that a built-in policy made in place of a user's.");
    describe_counter!(
        "wasmesh_policy_overridden_total",
        "Choices of users' policies of endpoints that take no traffic."
    );
    describe_counter!("wasmesh_tcp_connections_opened_total", "TCP connections forwarded.");
    describe_counter!("wasmesh_tcp_connections_closed_total", "TCP connections that have ended.");
    describe_counter!("wasmesh_tls_connections_total", "TLS connections forwarded, by the server name asked for.");
    describe_counter!("wasmesh_tcp_sent_bytes_total", "Bytes from clients to backends, of ended connections.");
    describe_counter!("wasmesh_tcp_received_bytes_total", "Bytes from backends to clients, of ended connections.");
    describe_counter!("wasmesh_client_connections_failed_total", "Client connections that ended with an error.");
    describe_counter!("wasmesh_endpoints_late_total", "First uses of a Service whose endpoints did not come in time.");
    describe_counter!("wasmesh_ejections_total", "Endpoints that were ejected because they kept failing.");
    describe_counter!("wasmesh_bodies_not_repeatable_total", "Request bodies larger than --max-replay-bytes.");
    describe_counter!(
        "wasmesh_unread_over_limit_total",
        "How often peers that do not read held as much as --max-buffered-bytes allows."
    );
    describe_counter!(
        "wasmesh_unread_streams_ended_total",
        "Streams that were ended because nobody read them and there was no more room."
    );
    describe_counter!("wasmesh_connections_over_limit_total", "Connections refused because of --max-connections.");
    describe_counter!(
        "wasmesh_connections_refused_total",
        "Connections refused: no-endpoint, or loop (whoever dials the proxy's own port, as capture does to see whether it is there)."
    );
    describe_counter!(
        "wasmesh_passthrough_connections_total",
        "Connections that are none of the mesh's, forwarded as they came."
    );
    describe_counter!(
        "wasmesh_passthrough_failures_total",
        "Destinations outside of the mesh that could not be reached."
    );
    describe_counter!(
        "wasmesh_pod_connections_total",
        "Passed-through connections that reached a pod of a Service, whose policy had no say in that; kind is headless for a \
         Service without virtual addresses, either for one with them whose pod belongs to a headless one too, cluster-ip for others."
    );
    describe_counter!(
        "wasmesh_pod_connections_unknown_total",
        "Passed-through connections of which it could not be found out whether they reached a pod of a Service."
    );
    describe_counter!("wasmesh_divergences_total", "How often the state differed from what the control plane expects.");
    describe_counter!("wasmesh_accept_failures_total", "How often connections could not be accepted.");
    describe_counter!("wasmesh_rejected_resources_total", "Resources of the control plane that cannot be used.");
    describe_counter!(
        "wasmesh_control_plane_losses_total",
        "Streams to the control plane that ended or failed to open."
    );
    describe_gauge!("wasmesh_control_plane_connected", "Whether there is a stream to a control plane.");
    describe_gauge!("wasmesh_services", "Services in the directory.");
    describe_gauge!("wasmesh_endpoints", "Endpoints of the Services in use, by state.");
    metrics.histograms().describe(service_metrics::DURATION, "From a request's head to the end of its response.");
    gauge!("wasmesh_control_plane_connected").set(0);
    gauge!("wasmesh_services").set(0);
    counter!("wasmesh_rejected_resources_total").absolute(0);
    counter!("wasmesh_endpoints_late_total").absolute(0);
    counter!("wasmesh_pod_connections_unknown_total").absolute(0);
}

/// A stream to a control plane is open.
pub fn control_plane_connected(replica: &str) {
    gauge!("wasmesh_control_plane_connected").set(1);
    tracing::info!(replica, "connected to the control plane");
}

/// There is no stream. `is_news` is false when the same has been said before.
pub fn control_plane_lost(error: &str, was_connected: bool, is_news: bool) {
    gauge!("wasmesh_control_plane_connected").set(0);
    counter!("wasmesh_control_plane_losses_total").increment(1);
    if was_connected {
        tracing::warn!("lost the control plane, going on with what is known: {error}");
    } else if is_news {
        tracing::warn!("no control plane, trying again: {error}");
    } else {
        tracing::debug!("no control plane, trying again: {error}");
    }
}

/// The control plane has ended a stream that had lived long enough; nothing is wrong.
pub fn stream_renewed(why: &str) {
    tracing::debug!("opening another stream: {why}");
}

/// A resource of the control plane cannot be used.
pub fn resource_rejected(name: &ServiceName, rejected: &Rejected) {
    counter!("wasmesh_rejected_resources_total").increment(1);
    tracing::warn!(service = %name, version = %rejected.versions.entry, "rejected, what was held stays: {}", rejected.reason);
}

/// What is held is not what the control plane expects.
pub fn diverged() {
    counter!("wasmesh_divergences_total").increment(1);
    tracing::warn!("the state differs from what the control plane expects; it is being compared");
}

/// A new world was published to the workers; `before` is what was live in the last one.
pub fn world_published(before: &NameMap<Arc<LiveService>>, world: &World) {
    gauge!("wasmesh_services").set(world.table.len() as f64);
    for (name, _, now) in before.differences(&world.live, Arc::ptr_eq) {
        let loads = now.map_or(&[][..], |service| service.loads());
        let withdrawn = loads.iter().filter(|(_, load)| load.is_withdrawn()).count();
        endpoints_gauge(name, "available").set((loads.len() - withdrawn) as f64);
        endpoints_gauge(name, "unavailable").set(withdrawn as f64);
    }
    tracing::debug!(services = world.table.len(), "new world");
}

fn endpoints_gauge(name: &ServiceName, state: &'static str) -> Gauge {
    let (service, namespace) = (name.name().to_owned(), name.namespace().to_owned());
    gauge!("wasmesh_endpoints", "service" => service, "namespace" => namespace, "state" => state)
}

/// The endpoints of a Service did not come within the time that its first use waits.
pub fn endpoints_not_in_time(name: &ServiceName) {
    counter!("wasmesh_endpoints_late_total").increment(1);
    tracing::debug!(service = %name, "the endpoints did not come in time");
}

/// An endpoint could not be connected to.
pub fn connect_failed(address: SocketAddr, error: &ConnectError) {
    counter!("wasmesh_connect_failures_total").increment(1);
    tracing::debug!(%address, "an endpoint cannot be connected to: {error}");
}

/// The system has no socket for a connection that is to be opened.
pub fn no_socket(error: &io::Error) {
    counter!("wasmesh_socket_shortages_total").increment(1);
    tracing::debug!("no socket for a connection to an endpoint, waiting for one: {error}");
}

/// The proxy answered a request by itself. `is_news` is false when the like was logged a short while ago.
pub fn answered_by_proxy(reason: ErrorReason, detail: &str, is_news: bool) {
    counter!("wasmesh_own_answers_total", "reason" => reason.as_str()).increment(1);
    if is_news {
        tracing::warn!(reason = reason.as_str(), "answered by the proxy: {detail}");
    } else {
        tracing::debug!(reason = reason.as_str(), "answered by the proxy: {detail}");
    }
}

/// A connection was refused: nobody can serve it.
pub fn refused(destination: &Destination, why: &str) {
    counter!("wasmesh_connections_refused_total", "reason" => "no-endpoint").increment(1);
    tracing::debug!(%destination, "refused: {why}");
}

/// Somebody dialled the proxy itself.
pub fn refused_as_loop(client: Option<IpAddr>, why: &str) {
    counter!("wasmesh_connections_refused_total", "reason" => "loop").increment(1);
    tracing::debug!(?client, "refused: {why}; use the HTTP proxy listener instead");
}

/// A connection that is not the mesh's has ended.
pub fn passed_through(relayed: &Relayed) {
    counter!("wasmesh_passthrough_connections_total").increment(1);
    if let Err(error) = &relayed.ending {
        tracing::debug!("a connection that was passed through broke: {error}");
    }
}

/// A destination that is not the mesh's could not be reached.
pub fn passthrough_failed(destination: &Destination, error: &io::Error) {
    counter!("wasmesh_passthrough_failures_total").increment(1);
    tracing::debug!(%destination, "cannot be reached: {error}");
}

/// Passed-through connections have reached pods of a Service. `is_news` is true for the first ones.
pub fn pod_connections(service: &ServiceName, way: Way, connections: u64, is_news: bool) {
    let labels = [("namespace", service.namespace().to_owned()), ("service", service.name().to_owned())];
    let labels: Vec<_> = labels.into_iter().chain([("kind", way.name().to_owned())]).collect();
    counter!("wasmesh_pod_connections_total", &labels).increment(connections);
    if is_news && way == Way::ClusterIp {
        tracing::info!(%service, "clients reach pods of a Service by their own addresses, so its policy has no say");
    }
}

/// Of passed-through connections it is not known whether they have reached pods of a Service.
pub fn pod_connections_unknown(connections: u64) {
    counter!("wasmesh_pod_connections_unknown_total").increment(connections);
}

/// A client's connection ended with an error: it sent something that is no HTTP, too much of it, or went away.
pub fn client_connection_failed(client: &str, error: &hyper::Error) {
    let reason = if error.is_parse_too_large() {
        "head-too-large"
    } else if error.is_parse() {
        "malformed"
    } else if error.is_timeout() {
        "timeout"
    } else {
        "broken"
    };
    counter!("wasmesh_client_connections_failed_total", "reason" => reason).increment(1);
    tracing::debug!(client, reason, "a client's connection ended: {error}");
}

/// A client of HTTP/2 was cut off because it took most of its requests back at once.
pub fn client_takes_back(client: &str) {
    counter!("wasmesh_client_connections_failed_total", "reason" => "takes-back").increment(1);
    tracing::debug!(client, "a client's connection was ended: it resets its streams as it opens them");
}

/// A client's connection broke, or had to be broken.
pub fn client_connection_broken(why: &dyn Display) {
    counter!("wasmesh_client_connections_failed_total", "reason" => "broken").increment(1);
    tracing::debug!("a client's connection ended: {why}");
}

/// A client of a port that speaks HTTP has not asked for anything in time.
pub fn client_silent() {
    counter!("wasmesh_client_connections_failed_total", "reason" => "timeout").increment(1);
    tracing::debug!("a client's connection ended: it has asked for nothing (--client-idle-timeout)");
}

/// A request's body is larger than what is remembered: it can be sent only once.
pub fn body_outgrew_replay() {
    counter!("wasmesh_bodies_not_repeatable_total").increment(1);
}

/// Peers that do not read hold all that may be held for such (--max-buffered-bytes).
pub fn unread_over_limit() {
    counter!("wasmesh_unread_over_limit_total").increment(1);
    tracing::debug!("too much is held for peers that do not read: nothing more is read for them");
}

/// A stream that its peer does not read has ended, to make room.
pub fn unread_stream_ended() {
    counter!("wasmesh_unread_streams_ended_total").increment(1);
}

/// An endpoint has failed too often in a row and gets no traffic for a while.
pub fn ejected(address: SocketAddr) {
    counter!("wasmesh_ejections_total").increment(1);
    tracing::info!(%address, "ejected: it keeps failing");
}

/// A connection was refused because there are as many as there may be.
pub fn too_many_connections() {
    counter!("wasmesh_connections_over_limit_total").increment(1);
    tracing::debug!("refused: too many connections (--max-connections)");
}

/// Connections cannot be accepted.
pub fn accept_failed(why: &dyn Display) {
    counter!("wasmesh_accept_failures_total").increment(1);
    tracing::warn!("cannot accept connections, trying again: {why}");
}

/// A user's policy can serve.
pub fn policy_ready(service: &ServiceName, policy: &str, module: &ModuleDigest, path: CallPath) {
    tracing::info!(%service, policy, module = module.short(), %path, "policy ready");
}

/// A user's policy cannot be had now.
pub fn policy_delayed(service: &ServiceName, policy: &str, why: &str) {
    tracing::warn!(%service, policy, "policy not to be had now, trying again: {why}");
}

/// A user's policy cannot be used; what served before goes on.
pub fn policy_rejected(service: &ServiceName, policy: &str, module: &ModuleDigest, why: &str) {
    tracing::warn!(%service, policy, module = module.short(), "policy rejected, the one before goes on serving: {why}");
}

/// A user's policy does not take a list of endpoints.
pub fn policy_refused_list(service: &ServiceName, policy: &str, why: &str) {
    tracing::warn!(%service, policy, "policy does not take the list of endpoints, the built-in one serves: {why}");
}

/// A user's policy has failed; the built-in one has answered.
pub fn policy_fault(place: &Place, reason: &str, detail: &str, consequence: Consequence) {
    let (service, port, role) = (&place.cell.service, place.cell.port, place.role);
    match consequence {
        Consequence::Rebuild => {
            tracing::warn!(%service, port, ?role, reason, "policy failed, a new instance takes over: {detail}");
        }
        Consequence::Quarantine { until_us } => {
            let seconds = until_us.saturating_sub(now_us()).div_ceil(1_000_000);
            tracing::warn!(%service, port, ?role, reason, seconds, "policy failed too often, left alone: {detail}");
        }
        Consequence::Abort => {
            tracing::warn!(%service, port, ?role, reason, "policy failed too often, its trial has ended: {detail}");
        }
    }
}

/// A user's policy has something to say.
pub fn policy_says(service: &ServiceName, policy: &str, level: LogLevel, line: &str) {
    match level {
        LogLevel::Error => tracing::error!(target: "wasmesh_policy", %service, policy, "{line}"),
        LogLevel::Warn => tracing::warn!(target: "wasmesh_policy", %service, policy, "{line}"),
        LogLevel::Info => tracing::info!(target: "wasmesh_policy", %service, policy, "{line}"),
        LogLevel::Debug => tracing::debug!(target: "wasmesh_policy", %service, policy, "{line}"),
    }
}

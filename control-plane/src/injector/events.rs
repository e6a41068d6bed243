//! What the injector says of itself: each event is one function that writes its log line and counts it.

use std::net::SocketAddr;

use metrics::counter;

const PODS: &str = "wasmesh_injector_pods_total";
const BAD_REQUESTS: &str = "wasmesh_injector_bad_requests_total";
const HANDSHAKES: &str = "wasmesh_injector_handshake_failures_total";

/// Gives every metric its help text and its zero.
pub fn describe() {
    metrics::describe_counter!(PODS, "Pods that the injector was asked about, by what became of them and why.");
    metrics::describe_counter!(BAD_REQUESTS, "Requests to the injector that were no questions, by status.");
    metrics::describe_counter!(HANDSHAKES, "TLS handshakes with the injector that failed.");
    for decision in ["injected", "left", "refused"] {
        counter!(PODS, "decision" => decision, "reason" => "").absolute(0);
    }
    counter!(HANDSHAKES).absolute(0);
}

fn count(decision: &'static str, reason: &'static str) {
    counter!(PODS, "decision" => decision, "reason" => reason).increment(1);
}

/// A pod is meshed.
pub fn injected(warnings: &[String]) {
    count("injected", if warnings.is_empty() { "" } else { "in-part" });
    tracing::debug!("a pod is meshed; {}", warnings.join("; "));
}

/// A pod stays as it is, as everyone expects.
pub fn left(reason: &'static str) {
    count("left", reason);
}

/// A pod stays as it is, and somebody may have expected something else.
pub fn left_surprisingly(reason: &'static str, why: &str) {
    count("left", reason);
    tracing::info!(reason, "a pod stays outside of the mesh: {why}");
}

/// A pod must not be made.
pub fn refused(reason: &'static str, why: &str) {
    count("refused", reason);
    tracing::warn!(reason, "a pod is refused: {why}");
}

/// Something else than a pod was asked about.
pub fn other_subject(what: &str) {
    tracing::warn!("{what}: check the rules of the webhook's configuration");
}

/// What was sent is no question.
pub fn bad_request(status: u16, why: &str) {
    counter!(BAD_REQUESTS, "status" => status.to_string()).increment(1);
    tracing::debug!(status, "a request to the injector is none: {why}");
}

/// Somebody does not trust our certificate, or speaks no TLS.
pub fn handshake_failed(from: SocketAddr, why: &str) {
    counter!(HANDSHAKES).increment(1);
    tracing::debug!(%from, "a connection to the injector ended in its TLS handshake: {why}");
}

/// A connection could not be accepted.
pub fn accept_failed(error: &std::io::Error) {
    tracing::warn!("the injector cannot accept a connection: {error}");
}

/// What a namespace demands of its pods is not known.
pub fn namespaces_unknown(error: &str) {
    tracing::warn!("what namespaces demand of pods cannot be read: {error}");
}

/// The cluster knows no native sidecars.
pub fn too_old(version: &str) {
    tracing::error!("nothing is injected: Kubernetes {version} has no native sidecars; 1.29 is the oldest that has");
}

/// The API server does not say its version.
pub fn version_unknown(error: &str) {
    tracing::warn!("the version of the API server cannot be read; it is asked again: {error}");
}

/// The API server trusts us.
pub fn bundle_written() {
    tracing::info!("the webhook's configuration has the bundle of certificates");
}

/// The API server does not trust us yet.
pub fn bundle_not_written(error: &str) {
    tracing::warn!(
        "the bundle of certificates cannot be written into the webhook's configuration; it is tried again: {error}"
    );
}

/// Whether the API server trusts us is not known.
pub fn configuration_unknown(error: &str) {
    tracing::warn!("the webhook's configuration cannot be read: {error}");
}

/// An event for the owner of a pod could not be written.
pub fn note_lost(error: &str) {
    tracing::debug!("an event cannot be written: {error}");
}

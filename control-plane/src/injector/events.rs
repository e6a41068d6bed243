//! What the injector says of itself: each event is one function that writes its log line and counts it.

use std::net::SocketAddr;

use metrics::counter;

const PODS: &str = "wasmesh_injector_pods_total";
const BAD_REQUESTS: &str = "wasmesh_injector_bad_requests_total";
const EVENTS_DROPPED: &str = "wasmesh_injector_events_dropped_total";
const NOT_ASKED: &str = "wasmesh_injector_namespaces_not_asked_total";
const REVERTED: &str = "wasmesh_injector_bundle_reverted_total";
const HANDSHAKES: &str = "wasmesh_injector_handshake_failures_total";

/// Gives every metric its help text and its zero.
pub fn describe() {
    metrics::describe_counter!(PODS, "Pods that the injector was asked about, by what became of them and why.");
    metrics::describe_counter!(BAD_REQUESTS, "Requests to the injector that were no questions, by status.");
    metrics::describe_counter!(HANDSHAKES, "TLS handshakes with the injector that failed.");
    metrics::describe_counter!(
        EVENTS_DROPPED,
        "Events for owners of pods that were not written, by reason: namespace (it does not ask for the mesh), rate, failed."
    );
    metrics::describe_counter!(NOT_ASKED, "Unknown namespaces that the API server was not asked for, to spare it.");
    metrics::describe_counter!(
        REVERTED,
        "How often somebody took the bundle of certificates out of the webhook's configuration that had just been written."
    );
    for reason in ["namespace", "rate", "failed"] {
        counter!(EVENTS_DROPPED, "reason" => reason).absolute(0);
    }
    counter!(NOT_ASKED).absolute(0);
    counter!(REVERTED).absolute(0);
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

/// A pod stays as it is, and somebody may have expected something else. Whether it is logged depends on how much has been.
pub fn left_surprisingly(reason: &'static str, why: &str, is_logged: bool) {
    count("left", reason);
    if is_logged {
        tracing::info!(reason, "a pod stays outside of the mesh: {why}");
    }
}

/// A pod must not be made.
pub fn refused(reason: &'static str, why: &str, is_logged: bool) {
    count("refused", reason);
    if is_logged {
        tracing::warn!(reason, "a pod is refused: {why}");
    }
}

/// Something else than a pod was asked about.
pub fn other_subject(what: &str, is_logged: bool) {
    if is_logged {
        tracing::warn!("{what}: check the rules of the webhook's configuration");
    }
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

/// What a namespace demands of its pods is not known, because the API server does not say it.
pub fn namespaces_unknown(error: &str, is_news: bool) {
    if is_news {
        tracing::warn!("what new namespaces demand of pods cannot be read: {error}");
    } else {
        tracing::debug!("what a namespace demands of pods cannot be read: {error}");
    }
}

/// The API server says it again.
pub fn namespaces_known() {
    tracing::info!("what new namespaces demand of pods can be read again");
}

/// What a namespace demands of its pods is not known, because the API server has been asked for too many.
pub fn namespace_not_asked() {
    counter!(NOT_ASKED).increment(1);
}

/// The cluster knows no native sidecars.
pub fn too_old(version: &str) {
    tracing::error!("nothing is injected: Kubernetes {version} has no native sidecars; 1.29 is the oldest that has");
}

/// The API server does not say its version.
pub fn version_unknown(error: &str, is_taken_for_recent: bool) {
    let meanwhile = if is_taken_for_recent { "it is taken for 1.29 or newer" } else { "nothing is injected" };
    tracing::warn!("the version of the API server cannot be read, {meanwhile}; it is asked again: {error}");
}

/// The API server says its version again.
pub fn version_known(version: &str) {
    tracing::info!(version, "the version of the API server can be read");
}

/// The API server trusts us.
pub fn bundle_written() {
    tracing::info!("the webhook's configuration has the bundle of certificates");
}

/// The API server does not trust us yet.
pub fn bundle_not_written(error: &str, is_news: bool) {
    if is_news {
        tracing::warn!(
            "the bundle of certificates cannot be written into the webhook's configuration; it is tried again: {error}"
        );
    } else {
        tracing::debug!("the bundle of certificates cannot be written into the webhook's configuration: {error}");
    }
}

/// Somebody takes the bundle out again as soon as it is there.
pub fn bundle_reverted(is_news: bool) {
    counter!(REVERTED).increment(1);
    if is_news {
        tracing::warn!(
            "somebody takes the bundle of certificates out of the webhook's configuration as soon as it is there; it is put \
             back ever more slowly, and pods are made without the mesh meanwhile: have the tool that applies the manifests ignore \
             webhooks[].clientConfig.caBundle (said once)"
        );
    }
}

/// The bundle has been left alone for long.
pub fn bundle_left_alone() {
    tracing::info!("the bundle of certificates is left alone in the webhook's configuration");
}

/// An event for the owner of a pod is not written.
pub fn note_dropped(reason: &'static str) {
    counter!(EVENTS_DROPPED, "reason" => reason).increment(1);
}

/// An event for the owner of a pod could not be written.
pub fn note_lost(error: &str) {
    note_dropped("failed");
    tracing::debug!("an event cannot be written: {error}");
}

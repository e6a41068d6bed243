//! What capture says of itself, on both ends of its socket.

use std::{io, net::SocketAddr, path::Path};

use metrics::{describe_gauge, gauge};
use wasmesh_core::capture::RefuseSet;

use super::{
    backend::{Backend, Rules},
    session::SessionEnd,
};

/// Gives the proxy's metrics of capture their help text and their zero.
pub(super) fn describe() {
    describe_gauge!("wasmesh_capture_connected", "Whether there is a connection to the holder of the capture rules.");
    describe_gauge!("wasmesh_refused_destinations", "Destinations without endpoints that the kernel refuses.");
    gauge!("wasmesh_capture_connected").set(0);
    gauge!("wasmesh_refused_destinations").set(0);
}

/// The proxy has found the holder of the rules.
pub(super) fn connected(path: &Path) {
    gauge!("wasmesh_capture_connected").set(1);
    tracing::info!(socket = %path.display(), "connected to capture");
}

/// The proxy has lost the holder of the rules, or has not found it. `is_news` is false when the same was said before.
pub(super) fn disconnected(why: &str, was_connected: bool, is_news: bool) {
    gauge!("wasmesh_capture_connected").set(0);
    gauge!("wasmesh_refused_destinations").set(0);
    if was_connected {
        tracing::warn!("lost capture, trying again; what has no endpoint is refused late meanwhile: {why}");
    } else if is_news {
        // The proxy starts before it, so this is how every pod begins.
        tracing::info!("no capture yet, trying again: {why}");
    } else {
        tracing::debug!("no capture yet, trying again: {why}");
    }
}

/// The kernel has what the proxy wants refused.
pub(super) fn acknowledged(refused: &RefuseSet) {
    gauge!("wasmesh_refused_destinations").set(refused.len() as f64);
    tracing::debug!(destinations = refused.len(), "refused by the kernel");
}

/// The kernel would not have what the proxy wants refused.
pub(super) fn not_refused(why: &str) {
    tracing::warn!("capture cannot refuse what has no endpoint, trying again: {why}");
}

/// The rules wait for the proxy.
pub(super) fn waiting_for(silent: &[SocketAddr]) {
    let addresses: Vec<_> = silent.iter().map(ToString::to_string).collect();
    tracing::info!("nothing is captured until the proxy answers on {}", addresses.join(" and "));
}

/// Rules were installed.
pub(super) fn installed(rules: &Rules) {
    if let Some(why) = rules.passed_over() {
        tracing::warn!("{} is used instead: {why}", rules.backend());
    }
    tracing::info!(backend = %rules.backend(), "connections are captured");
}

/// Rules were drained.
pub(super) fn drained(backend: Backend) {
    tracing::info!(%backend, "connections are not captured any more; those that were stay open");
}

/// A proxy speaks.
pub(super) fn proxy_speaks() {
    tracing::info!("the proxy has connected");
}

/// Somebody who may not speak has tried.
pub(super) fn stranger(uid: Option<u32>) {
    tracing::warn!(uid, "a process of another user than the proxy's was turned away");
}

/// The proxy's connection has ended.
pub(super) fn proxy_silent(end: &SessionEnd) {
    match end {
        SessionEnd::Closed => tracing::info!("the proxy has disconnected"),
        SessionEnd::Broken(_) | SessionEnd::Protocol(_) => tracing::warn!("the proxy's connection has ended: {end}"),
    }
}

/// The proxy is gone and does not answer.
pub(super) fn proxy_gone() {
    tracing::warn!("the proxy does not answer any more: its connections go their own way until it does");
}

/// The refused destinations were changed.
pub(super) fn refused(destinations: usize) {
    tracing::debug!(destinations, "refused from now on");
}

/// The refused destinations were forgotten because nobody stands for them.
pub(super) fn forgotten() {
    tracing::warn!("the proxy is still gone: nothing is refused any more, since nobody knows what has no endpoint");
}

/// The refused destinations could not be changed.
pub(super) fn refuse_failed(why: &str) {
    tracing::warn!("the refused destinations stay as they are: {why}");
}

/// A connection could not be accepted.
pub(super) fn accept_failed(error: &io::Error) {
    tracing::warn!("cannot accept the proxy's connection, trying again: {error}");
}

/// Nothing is captured, and the pod starts all the same.
pub(super) fn failed_open(error: &anyhow::Error) {
    tracing::error!("the pod's connections are not captured, the application starts without the mesh: {error:#}");
}

/// The file that a probe looks for cannot be made.
pub(super) fn not_marked(path: &Path, error: &io::Error) {
    tracing::error!("{} cannot be written, so the pod does not start: {error}", path.display());
}

//! What DNS says of itself: each event is one function that counts it and writes its log line.

use std::{io, net::SocketAddr};

use metrics::{counter, describe_counter, describe_gauge, gauge};

/// How a question was dealt with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dealt {
    /// Answered from what the mesh knows.
    Mesh,
    /// Answered from what another server has said before.
    Cache,
    /// Answered by another server.
    Forwarded,
    /// Answered with an error, because no other server did.
    Failed,
    /// Refused: it was no question that makes sense.
    Malformed,
    /// Not answered: there were too many.
    Dropped,
}

impl Dealt {
    fn label(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::Cache => "cache",
            Self::Forwarded => "forwarded",
            Self::Failed => "failed",
            Self::Malformed => "malformed",
            Self::Dropped => "dropped",
        }
    }
}

/// Gives every metric its help text.
pub fn describe() {
    describe_counter!("wasmesh_dns_queries_total", "DNS questions of applications, by what became of them.");
    describe_counter!("wasmesh_dns_upstream_failures_total", "Questions that a name server did not answer, by reason.");
    describe_counter!("wasmesh_dns_connections_dropped_total", "TCP connections over --max-dns-connections.");
    describe_gauge!("wasmesh_dns_cache_entries", "Answers of other name servers that are kept.");
}

pub(super) fn dealt(how: Dealt) {
    counter!("wasmesh_dns_queries_total", "answer" => how.label()).increment(1);
}

pub(super) fn cached(entries: usize) {
    gauge!("wasmesh_dns_cache_entries").set(entries as f64);
}

/// A server did not answer as it should.
pub(super) fn upstream_failed(server: SocketAddr, reason: &'static str, error: &dyn std::fmt::Display) {
    counter!("wasmesh_dns_upstream_failures_total", "reason" => reason).increment(1);
    tracing::debug!(%server, "a name server does not answer: {error}");
}

/// Something came that answers another question, or comes from nobody who was asked.
pub(super) fn stray_answer(server: SocketAddr) {
    counter!("wasmesh_dns_upstream_failures_total", "reason" => "stray").increment(1);
    tracing::debug!(%server, "an answer to what was not asked: left out");
}

pub(super) fn connection_dropped() {
    counter!("wasmesh_dns_connections_dropped_total").increment(1);
}

pub(super) fn socket_failed(what: &str, error: &io::Error) {
    tracing::debug!("DNS: {what}: {error}");
}

//! What happens at the door: each event is one function that writes its log line and counts it.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use metrics::counter;

use super::{Refusal, Unavailable};

const REFUSED: &str = "wasmesh_control_plane_refused_total";
const REVIEWS: &str = "wasmesh_control_plane_token_reviews_total";

/// How many refusals are remembered, so that each is named once.
const MAX_TOLD: usize = 1024;

/// Gives every metric its help text and its zero.
pub fn describe() {
    metrics::describe_counter!(REFUSED, "Calls and connections of proxies that were turned away, by reason.");
    metrics::describe_counter!(REVIEWS, "Questions to the API server about tokens, by whether it has answered.");
    for result in ["answered", "failed"] {
        counter!(REVIEWS, "result" => result).absolute(0);
    }
    let all = ["no-token", "malformed", "audience", "unbound", "expired", "not-accepted", "other-pod", "throttled"];
    for reason in all.into_iter().chain(["unavailable", "handshake"]) {
        counter!(REFUSED, "reason" => reason).absolute(0);
    }
}

/// What has been logged: a proxy that is turned away comes again and again.
#[derive(Debug, Default)]
pub(super) struct Told {
    refused: Mutex<HashSet<(String, &'static str)>>,
    is_unavailable: AtomicBool,
}

impl Told {
    /// Somebody is turned away; named in the log once for each reason.
    pub(super) fn refused(&self, who: &str, refusal: &Refusal) {
        let reason = refusal.reason();
        counter!(REFUSED, "reason" => reason).increment(1);
        // That is the API server's fault, and said of it.
        let is_news = !matches!(refusal, Refusal::Unavailable(_)) && self.is_news(who, reason);
        if is_news {
            tracing::warn!(proxy = who, reason, "a proxy is turned away (said once): {refusal}");
        } else {
            tracing::debug!(proxy = who, reason, "a proxy is turned away: {refusal}");
        }
    }

    /// The API server was asked about a token; what went wrong is logged once, until it goes well again.
    pub(super) fn asked(&self, failed: Option<&Unavailable>) {
        let result = if failed.is_some() { "failed" } else { "answered" };
        counter!(REVIEWS, "result" => result).increment(1);
        let was_unavailable = self.is_unavailable.swap(failed.is_some(), Ordering::Relaxed);
        match failed {
            Some(why) if !was_unavailable => tracing::warn!(
                "tokens of proxies cannot be checked; those that were good go on being accepted until they end: {why}"
            ),
            None if was_unavailable => tracing::info!("tokens of proxies can be checked again"),
            _ => {}
        }
    }

    fn is_news(&self, who: &str, reason: &'static str) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.len() >= MAX_TOLD {
            refused.clear();
        }
        refused.insert((who.to_owned(), reason))
    }
}

/// A connection ended before it was one. `is_news` is false when the like of the same address has been logged.
pub fn handshake_failed(from: IpAddr, why: &str, is_news: bool) {
    counter!(REFUSED, "reason" => "handshake").increment(1);
    if is_news {
        tracing::warn!(%from, "a connection ended in its TLS handshake (said once): {why}");
    } else {
        tracing::debug!(%from, "a connection ended in its TLS handshake: {why}");
    }
}

/// No connection can be accepted.
pub fn accept_failed(error: &std::io::Error) {
    tracing::warn!("cannot accept connections of proxies, trying again: {error}");
}

//! What is counted for each Service port. Handles are resolved once, so that a request only adds.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use metrics::{Counter, counter};
use wasmesh_core::service::ServiceSpec;
use wasmesh_telemetry::{Histogram, Histograms, Metrics};

use crate::{http::ErrorReason, tcp::Relayed};

/// The name of the histogram of request durations.
pub const DURATION: &str = "wasmesh_request_duration_seconds";

type Labels = [(&'static str, String); 4];

/// Counters of one Service port.
pub struct ServiceMetrics {
    labels: Labels,
    /// By the first digit of the status, 1 to 5.
    responses: [Counter; 5],
    /// `None` only while being dropped.
    duration: Option<Arc<Histogram>>,
    histograms: &'static Histograms,
    first_picks: Counter,
    retries: Counter,
    /// Only where there is a user's policy: picks that the built-in one made in its place, and choices of its that were not
    /// followed.
    in_place_of_policy: Option<[Counter; 2]>,
    broken: Counter,
    abandoned: Counter,
    opened: Counter,
    closed: Counter,
    sent_bytes: Counter,
    received_bytes: Counter,
    server_names: RefCell<HashMap<String, Counter>>,
}

impl ServiceMetrics {
    /// The counters of a port.
    pub fn new(spec: &ServiceSpec, port: usize, metrics: &Metrics) -> Self {
        let port = spec.ports.get(port);
        let policy = port.map_or_else(String::new, |port| port.policy.name().to_owned());
        let has_policy = port.is_some_and(|port| port.policy.wasm().is_some());
        let port = port.map_or_else(String::new, |port| port.port.to_string());
        let labels: Labels = [
            ("service", spec.name.name().to_owned()),
            ("namespace", spec.name.namespace().to_owned()),
            ("port", port),
            ("policy", policy),
        ];
        let plain = |name: &'static str| counter!(name, &labels);
        let histograms = metrics.histograms();
        Self {
            responses: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .map(|class| with(&labels, "wasmesh_requests_total", "class", class)),
            duration: Some(histograms.get(DURATION, &borrowed(&labels))),
            histograms,
            first_picks: with(&labels, "wasmesh_policy_picks_total", "reason", "first"),
            retries: with(&labels, "wasmesh_policy_picks_total", "reason", "retry"),
            in_place_of_policy: has_policy
                .then(|| ["wasmesh_policy_fallbacks_total", "wasmesh_policy_overridden_total"].map(plain)),
            broken: plain("wasmesh_responses_broken_total"),
            abandoned: plain("wasmesh_responses_abandoned_total"),
            opened: plain("wasmesh_tcp_connections_opened_total"),
            closed: plain("wasmesh_tcp_connections_closed_total"),
            sent_bytes: plain("wasmesh_tcp_sent_bytes_total"),
            received_bytes: plain("wasmesh_tcp_received_bytes_total"),
            server_names: RefCell::default(),
            labels,
        }
    }

    /// An endpoint was chosen, for the first time or because another one failed.
    pub fn picked(&self, is_first: bool) {
        if is_first {
            self.first_picks.increment(1);
        } else {
            self.retries.increment(1);
        }
    }

    /// The built-in policy decided in place of the user's.
    pub fn policy_fell_back(&self) {
        self.in_place_of_policy.iter().for_each(|[fallbacks, _]| fallbacks.increment(1));
    }

    /// The user's policy chose an endpoint that takes no traffic.
    pub fn policy_overridden(&self) {
        self.in_place_of_policy.iter().for_each(|[_, overridden]| overridden.increment(1));
    }

    /// A response has ended, so long after the request's head had come.
    pub fn responded(&self, status: u16, duration_us: u64) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.responses[class].increment(1);
        self.duration.iter().for_each(|duration| duration.record(duration_us));
    }

    /// A TLS client has asked for this server name. Names come from outside, so their number is bounded.
    pub fn tls_connection(&self, server_name: &str) {
        let mut names = self.server_names.borrow_mut();
        let known = names.len() < MAX_SERVER_NAMES || names.contains_key(server_name);
        let name = if known { server_name } else { "other" };
        let counter = || with(&self.labels, "wasmesh_tls_connections_total", "server_name", name.to_owned());
        names.entry(name.to_owned()).or_insert_with(counter).increment(1);
    }

    /// The proxy had to answer by itself.
    pub fn failed(&self, reason: ErrorReason, duration_us: u64) {
        with(&self.labels, "wasmesh_errors_total", "reason", reason.as_str()).increment(1);
        self.responded(reason.status().as_u16(), duration_us);
    }

    /// An endpoint broke off in the middle of a response.
    pub fn response_broken(&self) {
        self.broken.increment(1);
    }

    /// A client went away in the middle of a response.
    pub fn response_abandoned(&self) {
        self.abandoned.increment(1);
    }
}

impl Drop for ServiceMetrics {
    /// The last worker that lets go of a Service takes its durations off the page.
    fn drop(&mut self) {
        drop(self.duration.take());
        self.histograms.remove(DURATION, &borrowed(&self.labels));
    }
}

fn with(labels: &Labels, name: &'static str, label: &'static str, value: impl Into<String>) -> Counter {
    let labels: Vec<_> = labels.iter().cloned().chain([(label, value.into())]).collect();
    counter!(name, &labels)
}

fn borrowed(labels: &Labels) -> [(&'static str, &str); 4] {
    labels.each_ref().map(|(name, value)| (*name, &**value))
}

/// How many different names TLS clients may ask one Service port for before the rest are counted as one.
const MAX_SERVER_NAMES: usize = 32;

/// A forwarded connection, counted however it ends.
pub struct TcpConnection(Rc<ServiceMetrics>);

impl TcpConnection {
    /// A connection to an endpoint was opened.
    pub fn open(metrics: &Rc<ServiceMetrics>) -> Self {
        metrics.opened.increment(1);
        Self(Rc::clone(metrics))
    }

    /// It has ended.
    pub fn close(self, relayed: &Relayed) {
        self.0.sent_bytes.increment(relayed.sent);
        self.0.received_bytes.increment(relayed.received);
        if let Err(error) = &relayed.ending {
            tracing::debug!("a forwarded connection broke: {error}");
        }
    }
}

impl Drop for TcpConnection {
    fn drop(&mut self) {
        self.0.closed.increment(1);
    }
}

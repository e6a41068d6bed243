//! The admin server of every binary: is it alive, is it ready, what does it count, and what does it believe.
//!
//! Anyone may ask `/livez`, `/readyz` and `/metrics`: the kubelet and Prometheus come from elsewhere. Debug pages show
//! the mesh's inside and are answered to loopback only, which is where `kubectl port-forward` and `kubectl exec` come
//! from.
//!
//! It is plain HTTP/1.1, one request per connection. One request, because then a single deadline bounds whatever a
//! client does slowly, and a scrape every 15 seconds gains nothing from a connection kept open. What is told while it
//! happens has a later deadline.

mod answer;
mod lines;
mod listing;
mod query;
mod serve;

use std::collections::BTreeMap;
use std::pin::Pin;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::metrics::Metrics;

pub use listing::Listing;
pub use query::Query;

/// Whether a binary may receive traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It may.
    Ready,
    /// Not yet, or not any more, and why: the text is shown to whoever asks `/readyz`.
    NotReady(String),
}

/// The admin server: built from what its binary can say, then [served](Admin::serve).
pub struct Admin {
    metrics: Metrics,
    readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// Sorted, as a 404 lists them.
    pages: BTreeMap<&'static str, Page>,
}

/// What a path leads to.
enum Page {
    /// Written at once.
    Text(Box<dyn Fn(&Query) -> String + Send + Sync>),
    /// Told while it happens.
    Stream(Box<dyn Fn(&Query) -> Beginning + Send + Sync>),
}

/// The beginning of a stream: lines as they come, or the status and a text that say why there are none.
pub type Beginning = Pin<Box<dyn Future<Output = Result<mpsc::Receiver<Bytes>, (StatusCode, String)>> + Send>>;

impl Admin {
    /// With `/livez`, `/readyz` as `readiness` says at that moment, and `/metrics`.
    pub fn new(metrics: Metrics, readiness: impl Fn() -> Readiness + Send + Sync + 'static) -> Self {
        Self { metrics, readiness: Box::new(readiness), pages: BTreeMap::new() }
    }

    /// Adds a page at `path`, which begins with `/debug/`: JSON, computed anew for each request, for loopback peers only.
    ///
    /// The closure runs on the admin server's thread and should not wait for anything.
    #[must_use]
    pub fn page<P: Serialize>(
        mut self,
        path: &'static str,
        page: impl Fn(&Query) -> P + Send + Sync + 'static,
    ) -> Self {
        debug_assert!(path.starts_with("/debug/"), "pages live under /debug/: {path}");
        // What is of our own making is always written.
        let text = move |query: &Query| serde_json::to_string_pretty(&page(query)).unwrap_or_default() + "\n";
        self.pages.insert(path, Page::Text(Box::new(text)));
        self
    }

    /// Adds a page at `path`, which begins with `/debug/`, that goes on as long as its channel does: lines of JSON, for loopback
    /// peers only. A client that goes closes the channel; one that reads slowly keeps it full.
    #[must_use]
    pub fn stream(mut self, path: &'static str, page: impl Fn(&Query) -> Beginning + Send + Sync + 'static) -> Self {
        debug_assert!(path.starts_with("/debug/"), "pages live under /debug/: {path}");
        self.pages.insert(path, Page::Stream(Box::new(page)));
        self
    }
}

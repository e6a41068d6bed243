//! What an admin server says.

use std::net::SocketAddr;

use serde_json::Value;

use crate::{Connection, Response};

/// An admin server.
#[derive(Debug, Clone, Copy)]
pub struct Admin(pub SocketAddr);

impl Admin {
    /// A page.
    ///
    /// # Panics
    /// When the server does not answer.
    #[track_caller]
    pub fn page(self, path: &str) -> Response {
        let asked = Connection::open(self.0).and_then(|mut connection| connection.request("GET", path, ""));
        asked.unwrap_or_else(|error| panic!("admin page {path} of {}: {error}", self.0))
    }

    /// A page of JSON.
    #[track_caller]
    pub fn json(self, path: &str) -> Value {
        let page = self.page(path);
        serde_json::from_slice(&page.body).unwrap_or_else(|error| panic!("{path}: {error} in {}", page.text()))
    }

    /// Whether `/readyz` says so.
    pub fn is_ready(self) -> bool {
        self.page("/readyz").status == 200
    }

    /// The sum of a metric over all series that have these labels. Metrics are the whole process's: compare before and
    /// after, or give a Service a name of its own.
    pub fn metric(self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.page("/metrics").text();
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let series = text.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| rest.contains(label.as_str()))
        });
        series.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    /// How many snapshots a control plane has published.
    pub fn sequence(self) -> u64 {
        self.json("/debug/snapshot")["sequence"].as_u64().unwrap_or_default()
    }

    /// How the proxy of this name stands with a control plane.
    pub fn stream(self, proxy: &str) -> Option<Value> {
        let page = self.json("/debug/streams");
        let streams = page["streams"].as_array()?;
        // A proxy that has come back may still be there a second time.
        streams.iter().rev().find(|stream| stream["proxy"] == proxy).cloned()
    }

    /// Whether a proxy has acknowledged everything that a control plane has published.
    pub fn is_current(self, proxy: &str) -> bool {
        self.stream(proxy).is_some_and(|stream| stream["current"] == true)
    }
}

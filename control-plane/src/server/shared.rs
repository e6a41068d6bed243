//! What all streams have in common.

use tokio::sync::watch;
use wasmesh_proto::session::encoder::Encoder;
use wasmesh_telemetry::Metrics;

use super::streams::Streams;
use crate::{
    policies::{modules::Modules, trials::Trials},
    published::Latest,
};

/// What all streams have in common.
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) latest: Latest,
    pub(super) modules: Modules,
    pub(super) trials: Trials,
    pub(super) encoder: Encoder,
    pub(super) streams: Streams,
    pub(super) metrics: Metrics,
    pub(super) stopping: watch::Receiver<bool>,
}

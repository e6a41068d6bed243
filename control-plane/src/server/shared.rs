//! What all streams have in common.

use std::time::Duration;

use tokio::sync::watch;
use wasmesh_proto::session::encoder::Encoder;
use wasmesh_telemetry::Metrics;

use super::streams::Streams;
use crate::{
    findings::{AddressOwners, NodeZones},
    identity::Authenticator,
    policies::{modules::Modules, trials::Trials},
    published::Latest,
};

/// What all streams have in common.
pub struct Shared {
    /// Tells replicas apart in logs and status.
    pub name: String,
    /// What is served.
    pub latest: Latest,
    /// The modules that it names.
    pub modules: Modules,
    /// Where faults of candidates are counted.
    pub trials: Trials,
    /// Where nodes stand.
    pub zones: NodeZones,
    /// Whose the addresses of endpoints are.
    pub owners: AddressOwners,
    /// Says who calls.
    pub authenticator: Authenticator,
    /// How long a stream may live at most. Then it is opened anew: with a fresh token, and perhaps at another replica.
    pub stream_life: Duration,
    /// Encodes each change once.
    pub encoder: Encoder,
    /// Who is connected.
    pub streams: Streams,
    /// Where durations are counted.
    pub metrics: Metrics,
    /// Turns true when the control plane ends.
    pub stopping: watch::Receiver<bool>,
}

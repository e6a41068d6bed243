//! The status of a `LoadBalancingPolicy` as it is written, in the shape of Gateway API's policy attachment.
//!
//! Nothing in it is required when it is read: what another version of the mesh has written must not make the object unreadable.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What control planes have said of a policy.
#[derive(JsonSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectStatus {
    /// On how many proxies of those that use a target the policy decides: `3/4`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<String>,
    /// A candidate that has been taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_candidate: Option<AbortedCandidate>,
    /// What has become of the policy at each of its targets.
    #[schemars(length(max = 16))]
    pub ancestors: Vec<AncestorStatus>,
}

/// A candidate that has been taken back. It stays so, at every replica and after restarts, until the object declares another.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AbortedCandidate {
    /// Names what was tried: its module, its configuration and how it was tried.
    pub hash: String,
    /// Its faults by reason, over all proxies.
    pub faults: BTreeMap<String, u64>,
    /// On how many proxies it failed.
    pub proxies: usize,
}

/// What has become of a policy at one target.
#[derive(JsonSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AncestorStatus {
    /// The target.
    pub ancestor_ref: AncestorRef,
    /// Who says so: `wasmesh.io/control-plane`.
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs` and `Programmed`.
    #[schemars(length(max = 8))]
    pub conditions: Vec<Condition>,
}

/// A target.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AncestorRef {
    /// The API group; empty for Services.
    pub group: String,
    /// `Service`.
    pub kind: String,
    /// The namespace, that of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name.
    pub name: String,
    /// The port, if the policy is for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

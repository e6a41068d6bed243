//! `LoadBalancingPolicy` as it is written: the shape of the object and nothing of its meaning.
//!
//! A field that is not known is an error that names it: a policy with a misspelt limit would run without it. Numbers have
//! room for what they cannot be, so that what is out of range is told by whoever knows the range.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny},
};
use wasmesh_core::policy::{BuiltinPolicy, OnFailure, TrialMode};

/// An object of kind `LoadBalancingPolicy`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancingPolicy {
    /// `wasmesh.io/v1alpha1`; checked by whoever knows what the object was taken for.
    #[serde(default)]
    pub api_version: Option<String>,
    /// `LoadBalancingPolicy`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Name, namespace, age and generation.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: PolicySpec,
    /// What some control plane has said of the object; not read.
    #[serde(default, rename = "status", deserialize_with = "ignored")]
    pub _status: (),
}

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// What it is for: Services of its own namespace, or ports of them. 1 to 16.
    pub target_refs: Vec<TargetRef>,
    /// A built-in policy, or `Wasm`.
    #[serde(rename = "type")]
    pub type_: PolicyType,
    /// The module, for `type: Wasm`.
    #[serde(default)]
    pub wasm: Option<WasmSpec>,
    /// Who answers when the module fails or says so.
    #[serde(default)]
    pub fallback: Builtin,
    /// What happens to a request for which the module fails.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// The labels of pods that the policy sees. At most 16.
    #[serde(default)]
    pub endpoint_labels: Vec<String>,
    /// What the module may do beyond choosing endpoints.
    #[serde(default)]
    pub allow: Vec<Permission>,
    /// The next version, tried out beside the present one.
    #[serde(default)]
    pub candidate: Option<Candidate>,
}

/// A Service, or one port of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// The API group; empty for Services.
    #[serde(default)]
    pub group: String,
    /// The kind; `Service`.
    pub kind: String,
    /// The name, in the namespace of the policy.
    pub name: String,
    /// The name of a port; without it, all ports.
    #[serde(default)]
    pub section_name: Option<String>,
}

/// Which policy it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "each is the built-in policy of that name, see wasmesh_core::policy")]
pub enum PolicyType {
    RoundRobin,
    Random,
    LeastRequest,
    #[serde(rename = "PeakEWMA")]
    PeakEwma,
    RingHash,
    Maglev,
    /// A module of the user's own.
    Wasm,
}

/// A built-in policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[allow(missing_docs, reason = "each is the built-in policy of that name, see wasmesh_core::policy")]
pub enum Builtin {
    RoundRobin,
    Random,
    #[default]
    LeastRequest,
    #[serde(rename = "PeakEWMA")]
    PeakEwma,
    RingHash,
    Maglev,
}

/// A module and what it is run with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WasmSpec {
    /// Where the module is.
    pub source: ModuleSource,
    /// What its bytes must hash to, in hexadecimal; empty for whatever they are.
    #[serde(default)]
    pub sha256: String,
    /// What `init` gets: any object, at most 64 KiB of JSON.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
}

/// Where a module is: exactly one of these.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ModuleSource {
    /// A file, relative to that of the object. Only where objects are files.
    #[serde(default)]
    pub file: Option<String>,
    /// A key of a ConfigMap's `binaryData`.
    #[serde(default)]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
    /// A URL.
    #[serde(default)]
    pub http: Option<HttpSource>,
    /// An OCI image.
    #[serde(default)]
    pub image: Option<ImageSource>,
}

/// A key of a ConfigMap in the namespace of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapKeyRef {
    /// The ConfigMap.
    pub name: String,
    /// The key of its `binaryData`.
    pub key: String,
}

/// A module that is had by HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSource {
    /// Where it is.
    pub url: String,
}

/// A module that is had from a registry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSource {
    /// Which image, by digest.
    pub reference: String,
    /// A Secret with the registry's credentials.
    #[serde(default)]
    pub pull_secret_ref: Option<SecretRef>,
}

/// A Secret in the namespace of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Its name.
    pub name: String,
}

/// What a module may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Fuel for one pick, 1,000 to 100,000,000.
    #[serde(default)]
    pub fuel: Option<i64>,
    /// Memory of one instance in MiB, 1 to 256.
    #[serde(default, rename = "memoryMiB")]
    pub memory_mib: Option<i64>,
}

/// What happens to a request for which the module fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum FailurePolicy {
    /// The fallback policy answers.
    #[default]
    Fallback,
    /// It is refused.
    Refuse,
}

/// What a module may do beyond choosing endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Permission {
    /// Read the beginning of request bodies.
    Body,
    /// Answer requests with a status of its own.
    Reject,
    /// Keep requests waiting.
    Hold,
    /// Read `Authorization`, `Cookie` and their like.
    SensitiveHeaders,
}

/// The next version of a policy.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Candidate {
    /// What becomes of its decisions.
    pub mode: CandidateMode,
    /// On how many proxies out of a hundred, 0 to 100. Everywhere unless said otherwise for `Shadow`; to be said for `Serve`.
    #[serde(default)]
    pub percent: Option<i64>,
    /// What is tried.
    pub wasm: WasmSpec,
    /// When to give it up.
    #[serde(default)]
    pub abort_on: AbortOn,
}

/// What becomes of a candidate's decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum CandidateMode {
    /// They are compared.
    Shadow,
    /// They are acted on.
    Serve,
}

/// When to give a candidate up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbortOn {
    /// After so many faults, over all proxies; at least 1.
    #[serde(default)]
    pub faults: Option<i64>,
}

impl PolicyType {
    /// The built-in policy of this type, if it is one.
    pub fn builtin(self) -> Option<BuiltinPolicy> {
        let builtin = match self {
            Self::RoundRobin => Builtin::RoundRobin,
            Self::Random => Builtin::Random,
            Self::LeastRequest => Builtin::LeastRequest,
            Self::PeakEwma => Builtin::PeakEwma,
            Self::RingHash => Builtin::RingHash,
            Self::Maglev => Builtin::Maglev,
            Self::Wasm => return None,
        };
        Some(builtin.into())
    }
}

impl From<Builtin> for BuiltinPolicy {
    fn from(builtin: Builtin) -> Self {
        match builtin {
            Builtin::RoundRobin => Self::RoundRobin,
            Builtin::Random => Self::Random,
            Builtin::LeastRequest => Self::LeastRequest,
            Builtin::PeakEwma => Self::PeakEwma,
            Builtin::RingHash => Self::RingHash,
            Builtin::Maglev => Self::Maglev,
        }
    }
}

impl From<FailurePolicy> for OnFailure {
    fn from(policy: FailurePolicy) -> Self {
        match policy {
            FailurePolicy::Fallback => Self::Fallback,
            FailurePolicy::Refuse => Self::Refuse,
        }
    }
}

impl From<CandidateMode> for TrialMode {
    fn from(mode: CandidateMode) -> Self {
        match mode {
            CandidateMode::Shadow => Self::Shadow,
            CandidateMode::Serve => Self::Serve,
        }
    }
}

fn ignored<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| ())
}

//! `LoadBalancingPolicy` as it is written: the shape of the object and nothing of its meaning. The CustomResourceDefinition is
//! made from these types, and its rules reject at admission whatever can be told from the object alone.
//!
//! A field that is not known is an error that names it: a policy with a misspelt limit would run without it. Numbers have
//! room for what they cannot be, so that where no API server has checked them what is out of range is told by whoever knows
//! the range.

#![allow(unreachable_pub, reason = "the schema's derive repeats each type inside a function")]
#![allow(clippy::duplicated_attributes, reason = "each printer column has its own")]

use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use wasmesh_core::policy::{BuiltinPolicy, OnFailure, TrialMode};

use super::ancestors::ObjectStatus;

/// What is wanted.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "wasmesh.io",
    version = "v1alpha1",
    kind = "LoadBalancingPolicy",
    plural = "loadbalancingpolicies",
    shortname = "lbp",
    category = "wasmesh",
    namespaced,
    status = "ObjectStatus",
    derive = "PartialEq",
    doc = "How connections and requests to a Service are spread over its pods: by a built-in policy, or by a WebAssembly component of yours.",
    printcolumn(
        name = "Type",
        type_ = "string",
        json_path = ".spec.type",
        description = "The policy, or Wasm for a module"
    ),
    printcolumn(
        name = "Target",
        type_ = "string",
        json_path = ".spec.targetRefs[*].name",
        description = "The Services that it is for"
    ),
    printcolumn(
        name = "Accepted",
        type_ = "string",
        json_path = ".status.ancestors[*].conditions[?(@.type==\"Accepted\")].status",
        description = "Whether it governs its targets"
    ),
    printcolumn(
        name = "Resolved",
        type_ = "string",
        json_path = ".status.ancestors[*].conditions[?(@.type==\"ResolvedRefs\")].status",
        description = "Whether what it refers to was found",
        priority = 1
    ),
    printcolumn(
        name = "Proxies",
        type_ = "string",
        json_path = ".status.proxies",
        description = "On how many proxies of those that use a target it decides"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.type == 'Wasm') == has(self.wasm)")
        .message("spec.wasm is for type: Wasm, and that type needs it"),
    validation = Rule::new("self.type == 'Wasm' || !has(self.candidate)").message("spec.candidate is for type: Wasm only")
)]
pub struct PolicySpec {
    /// What it is for: Services of its own namespace, or ports of them. 1 to 16.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name && (has(a.sectionName) ? a.sectionName : '') == (has(b.sectionName) ? b.sectionName : '')))")
            .message("a target is named twice: remove one of the two")
    )]
    pub target_refs: Vec<TargetRef>,
    /// A built-in policy, or `Wasm`.
    #[serde(rename = "type")]
    pub type_: PolicyType,
    /// The module, for `type: Wasm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wasm: Option<WasmSpec>,
    /// Who answers when the module fails or says so.
    #[serde(default)]
    pub fallback: Builtin,
    /// What happens to a request for which the module fails.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
    /// The labels of pods that the policy sees. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 317)))]
    pub endpoint_labels: Vec<String>,
    /// What the module may do beyond choosing endpoints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub allow: Vec<Permission>,
    /// The next version, tried out beside the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
}

/// A Service, or one port of it.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(!has(self.group) || self.group == '') && self.kind == 'Service'")
        .message("a policy can be for Services only: write group: \"\" and kind: Service")
)]
pub struct TargetRef {
    /// The API group; empty for Services.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub group: String,
    /// The kind; `Service`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// The name, in the namespace of the policy.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The name of a port; without it, all ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub section_name: Option<String>,
}

/// Which policy it is.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(self.source.http) || (has(self.sha256) && self.sha256 != '')")
        .message("sha256 is required for a module that is had over HTTP")
)]
pub struct WasmSpec {
    /// Where the module is.
    pub source: ModuleSource,
    /// What its bytes must hash to, in hexadecimal; empty for whatever they are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(regex(pattern = "^([0-9a-fA-F]{64})?$"))]
    pub sha256: String,
    /// What `init` gets: any object, at most 64 KiB of JSON.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// What it may use.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

/// Where a module is: exactly one of these.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.configMapKeyRef), has(self.http), has(self.image), has(self.file)].filter(it, it).size() == 1")
        .message("name exactly one of configMapKeyRef, http and image"),
    validation = Rule::new("!has(self.file)")
        .message("files are for control planes that read a folder: use configMapKeyRef")
)]
pub struct ModuleSource {
    /// A file, relative to that of the object. Only where objects are files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A key of a ConfigMap's `binaryData`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
    /// A URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,
    /// An OCI image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageSource>,
}

/// A key of a ConfigMap in the namespace of the policy.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigMapKeyRef {
    /// The ConfigMap.
    pub name: String,
    /// The key of its `binaryData`.
    pub key: String,
}

/// A module that is had by HTTP, from where the administrator allows.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSource {
    /// Where it is: `https://…`.
    #[schemars(length(min = 1, max = 8192))]
    pub url: String,
}

/// A module that is had from a registry, where the administrator allows it: an artefact of one layer, which is the component.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.reference.contains('@sha256:')")
        .message("name the image by digest, oci://HOST/REPOSITORY@sha256:…: what a tag means may change")
)]
pub struct ImageSource {
    /// Which one, by digest: `oci://HOST/REPOSITORY@sha256:…`.
    #[schemars(length(min = 1, max = 1024))]
    pub reference: String,
    /// A Secret of type `kubernetes.io/dockerconfigjson` with the registry's credentials, where the administrator lets policies name
    /// some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<SecretRef>,
}

/// A Secret in the namespace of the policy.
#[derive(JsonSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRef {
    /// Its name.
    pub name: String,
}

/// What a module may use.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Fuel for one pick, 1,000 to 100,000,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_000, max = 100_000_000))]
    pub fuel: Option<i64>,
    /// Memory of one instance in MiB, 1 to 256.
    #[serde(default, rename = "memoryMiB", skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub memory_mib: Option<i64>,
}

/// What happens to a request for which the module fails.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FailurePolicy {
    /// The fallback policy answers.
    #[default]
    Fallback,
    /// It is refused.
    Refuse,
}

/// What a module may do beyond choosing endpoints.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.mode != 'Serve' || has(self.percent)").message("mode: Serve needs a percent, 0 to 100")
)]
pub struct Candidate {
    /// What becomes of its decisions.
    pub mode: CandidateMode,
    /// On how many proxies out of a hundred, 0 to 100. Everywhere unless said otherwise for `Shadow`; to be said for `Serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<i64>,
    /// What is tried.
    pub wasm: WasmSpec,
    /// When to give it up.
    #[serde(default, skip_serializing_if = "AbortOn::is_default")]
    pub abort_on: AbortOn,
}

/// What becomes of a candidate's decisions.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CandidateMode {
    /// They are compared.
    Shadow,
    /// They are acted on.
    Serve,
}

/// When to give a candidate up.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AbortOn {
    /// After so many faults, over all proxies; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4_294_967_295_i64))]
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

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl AbortOn {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An object with whatever its author likes.
fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

//! Policies and what they refer to, as a source gives them.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use k8s_openapi::{ByteString, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    module::Module,
    spec::{LoadBalancingPolicy, ModuleSource, WasmSpec},
};
use crate::afar::Remote;

/// A policy, and the files that it names as its source has read them.
#[derive(Debug, Clone, PartialEq)]
pub struct PolicyObject {
    /// The object.
    pub policy: LoadBalancingPolicy,
    /// Each file by the name that the object gives it: the module, or why there is none. A source without files has none.
    pub files: BTreeMap<String, Result<Module, FileFault>>,
}

/// Why a file gives no module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    /// Nothing is there, or nothing that may be read; otherwise it is no policy.
    pub is_missing: bool,
    /// What is wrong and what to do about it.
    pub reason: String,
}

/// The part of a ConfigMap that matters here.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigMap {
    /// Name and namespace.
    pub metadata: ObjectMeta,
    /// The keys that hold text.
    pub text: BTreeSet<String>,
    /// The keys that hold bytes, decoded.
    pub binary: BTreeMap<String, Bytes>,
}

impl PolicyObject {
    /// A policy none of whose files has been read.
    pub fn new(policy: LoadBalancingPolicy) -> Self {
        Self { policy, files: BTreeMap::new() }
    }

    /// The same without its candidate, if it has one.
    pub fn without_candidate(&self) -> Option<Self> {
        self.policy.spec.candidate.as_ref()?;
        let mut rest = self.clone();
        rest.policy.spec.candidate = None;
        Some(rest)
    }

    /// The files that it names.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.sources().filter_map(|source| source.file.as_deref())
    }

    /// The ConfigMaps that it names.
    pub fn config_map_names(&self) -> impl Iterator<Item = &str> {
        self.sources().filter_map(|source| Some(source.config_map_key_ref.as_ref()?.name.as_str()))
    }

    /// The modules that it has from afar.
    pub fn remotes(&self) -> impl Iterator<Item = Remote> {
        let namespace = self.policy.metadata.namespace.as_deref().unwrap_or_default();
        self.programs().filter_map(move |wasm| Remote::of(wasm, namespace)?.ok())
    }

    /// The Secrets that it names.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        let images = self.sources().filter_map(|source| source.image.as_ref());
        images.filter_map(|image| Some(image.pull_secret_ref.as_ref()?.name.as_str()))
    }

    fn sources(&self) -> impl Iterator<Item = &ModuleSource> {
        self.programs().map(|wasm| &wasm.source)
    }

    fn programs(&self) -> impl Iterator<Item = &WasmSpec> {
        let candidate = self.policy.spec.candidate.as_ref().map(|candidate| &candidate.wasm);
        let programs: [Option<&WasmSpec>; 2] = [self.policy.spec.wasm.as_ref(), candidate];
        programs.into_iter().flatten()
    }
}

impl<'de> Deserialize<'de> for ConfigMap {
    /// Reads a ConfigMap as it is written and drops the texts.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Written {
            #[serde(default)]
            metadata: ObjectMeta,
            #[serde(default)]
            data: Option<BTreeMap<String, IgnoredAny>>,
            #[serde(default)]
            binary_data: Option<BTreeMap<String, ByteString>>,
        }
        let Written { metadata, data, binary_data } = Written::deserialize(deserializer)?;
        Ok(Self {
            metadata,
            text: data.unwrap_or_default().into_keys().collect(),
            binary: binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0.into())).collect(),
        })
    }
}

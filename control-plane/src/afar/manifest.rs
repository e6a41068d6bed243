//! What of a registry's manifest matters here: the one layer that is the component, or the signatures.

use std::collections::BTreeMap;

use serde::Deserialize;
use wasmesh_core::policy::ModuleDigest;

use crate::translate::policy::MAX_MODULE_BYTES;

/// The manifest of an artefact.
pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Layers that are WebAssembly: today's media type, and that of tools from before it was agreed on.
const WASM_LAYERS: [&str; 2] = ["application/wasm", "application/vnd.wasm.content.layer.v1+wasm"];
/// What several manifests are put together by.
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// A manifest, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    pub(super) layers: Vec<Layer>,
}

/// Names a blob.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Layer {
    pub(super) media_type: String,
    digest: String,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is none, or one of many artefacts.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| format!("its manifest cannot be read: {error}"))?;
        if INDEXES.contains(&manifest.media_type.as_str()) {
            return Err("it is an index of several artefacts: name the digest of the one that is meant".to_owned());
        }
        Ok(manifest)
    }

    /// The layer that is the component.
    ///
    /// # Errors
    /// When there is not exactly one, or it is something else or too large.
    pub(super) fn component(&self) -> Result<&Layer, String> {
        let [layer] = &self.layers[..] else {
            let count = self.layers.len();
            return Err(format!("it has {count} layers, and a policy is one: push it with `wasmesh policy push`"));
        };
        if !WASM_LAYERS.contains(&layer.media_type.as_str()) {
            let media_type = &layer.media_type;
            return Err(format!(
                "its layer is {media_type:?} and not {:?}: push it with `wasmesh policy push`",
                WASM_LAYERS[0]
            ));
        }
        if layer.size > MAX_MODULE_BYTES as u64 {
            let mib = MAX_MODULE_BYTES >> 20;
            return Err(format!(
                "it has {} bytes, and {mib} MiB are the most: strip it and build it for size",
                layer.size
            ));
        }
        Ok(layer)
    }
}

impl Layer {
    /// The SHA-256 that its bytes have.
    ///
    /// # Errors
    /// When it is named by something else.
    pub(super) fn sha256(&self) -> Result<ModuleDigest, String> {
        let digits = self.digest.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
        digits.ok_or_else(|| "a layer of it is not named by a SHA-256: push it anew".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_policy_is_one_layer_of_wasm() {
        let layer = |media_type: &str, size: u64| json!({ "mediaType": media_type, "size": size, "digest": format!("sha256:{}", "ab".repeat(32)) });
        let check = |manifest: Value, expected: Result<u64, &str>| {
            let found = Manifest::read(manifest.to_string().as_bytes())
                .and_then(|manifest| manifest.component().and_then(|layer| layer.sha256().map(|_| layer.size)));
            match (found, expected) {
                (Ok(size), Ok(expected)) => assert_eq!(size, expected),
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
                (found, _) => panic!("{manifest}: {found:?}"),
            }
        };
        check(json!({ "mediaType": MANIFEST, "layers": [layer("application/wasm", 9)] }), Ok(9));
        check(json!({ "layers": [layer("application/vnd.wasm.content.layer.v1+wasm", 9)] }), Ok(9));
        check(json!({ "layers": [layer("application/wasm", 9), layer("application/wasm", 9)] }), Err("2 layers"));
        check(json!({ "layers": [] }), Err("0 layers"));
        check(json!({ "layers": [layer("application/vnd.oci.image.layer.v1.tar+gzip", 9)] }), Err("tar+gzip"));
        check(json!({ "layers": [layer("application/wasm", 5 << 20)] }), Err("4 MiB are the most"));
        check(json!({ "mediaType": INDEXES[0], "manifests": [] }), Err("index of several"));
        check(json!("hello"), Err("cannot be read"));
        let odd = json!({ "layers": [{ "mediaType": "application/wasm", "size": 9, "digest": "sha512:12" }] });
        check(odd, Err("not named by a SHA-256"));
    }
}

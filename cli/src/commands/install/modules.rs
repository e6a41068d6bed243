//! What an installation says of modules from afar: flags, a role, and a ConfigMap with the files that flags name.

use std::{fs, path::Path};

use anyhow::Context;
use serde_json::{Map, Value, json};
use wasmesh_core::version::CanonicalWriter;

use crate::{deploy, options};

const CONFIG_MAP: &str = "wasmesh-modules";
const NAMESPACE: &str = "wasmesh-system";
const FOLDER: &str = "/etc/wasmesh/modules";
/// Names the content of the files: pods read them at their start.
const CONTENT: &str = "wasmesh.io/modules";

/// Fits the objects to the options.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn fit(objects: &mut Vec<Value>, options: &options::Modules) -> anyhow::Result<()> {
    let sources = options.allow_modules.iter().map(|pattern| format!("--allow-modules={pattern}"));
    let redirects = options.allow_module_redirects.iter().map(|pattern| format!("--allow-module-redirects={pattern}"));
    let mut arguments: Vec<_> = sources.chain(redirects).collect();
    let mut files = Map::new();
    for (option, key, path) in [
        ("module-ca", "ca.crt", options.module_ca.as_deref()),
        ("module-cosign-key", "cosign.pub", options.module_cosign_key.as_deref()),
    ] {
        if let Some(path) = path {
            files.insert(key.to_owned(), json!(read(option, path)?));
            arguments.push(format!("--{option}={FOLDER}/{key}"));
        }
    }
    if options.module_pull_secrets {
        arguments.push("--module-pull-secrets".to_owned());
    }
    let Some(index) = objects.iter().position(|object| object["kind"] == "Deployment") else { return Ok(()) };
    let template = &mut objects[index]["spec"]["template"];
    let container = template.pointer_mut("/spec/containers/0").context("deploy/deployment.yaml has no container")?;
    if let Some(all) = container.get_mut("args").and_then(Value::as_array_mut) {
        all.extend(arguments.into_iter().map(Value::from));
    }
    let mut more = Vec::new();
    if !files.is_empty() {
        container["volumeMounts"] = json!([{ "name": "modules", "mountPath": FOLDER, "readOnly": true }]);
        template["spec"]["volumes"] = json!([{ "name": "modules", "configMap": { "name": CONFIG_MAP } }]);
        let mut content = CanonicalWriter::default();
        content.text(&Value::Object(files.clone()).to_string());
        template["metadata"]["annotations"] = json!({ CONTENT: format!("{:016x}", content.finish()) });
        more.push(json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": CONFIG_MAP,
                "namespace": NAMESPACE,
                "labels": { "app.kubernetes.io/part-of": "wasmesh" },
            },
            "data": files,
        }));
    }
    if options.module_pull_secrets {
        more.push(deploy::pull_secrets()?);
    }
    // Before whoever needs them.
    objects.splice(index..index, more);
    Ok(())
}

fn read(option: &str, path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {} (--{option})", path.display()))
}

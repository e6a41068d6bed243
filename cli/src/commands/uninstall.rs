//! `wasmesh uninstall`: what `kubectl delete -f -` is to delete.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::print;
use crate::{deploy, options};

const COMMENT: &str = "To remove Wasmesh: wasmesh uninstall | kubectl delete --ignore-not-found -f -
Pods keep their sidecars, which go on with what they know, until they are replaced: kubectl rollout restart";

const KEPT: &str = "\nPolicies stay, and their definition with them; wasmesh uninstall --crds deletes both.";

/// Prints what names the objects, in the order in which they are to go: first the webhook, so that no pod waits for it.
pub(crate) fn uninstall(options: &options::Uninstall) -> anyhow::Result<ExitCode> {
    let mut objects = deploy::objects()?;
    // Not everybody has it; its other object goes with the namespace.
    objects.push(deploy::pull_secrets()?);
    let mut names: Vec<_> = objects.iter().filter(|object| options.crds || !is_crd(object)).map(name).collect();
    names.reverse();
    let comment = if options.crds { COMMENT.to_owned() } else { format!("{COMMENT}{KEPT}") };
    print(&deploy::text(&comment, &names)?)
}

fn is_crd(object: &Value) -> bool {
    object["kind"] == "CustomResourceDefinition"
}

/// As much of an object as is needed to delete it.
fn name(object: &Value) -> Value {
    let mut metadata = json!({ "name": object["metadata"]["name"] });
    if let Some(namespace) = object["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    json!({ "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata })
}

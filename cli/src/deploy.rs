//! The manifests of the mesh, as they are in deploy/.

use anyhow::Context;
use serde_json::Value;

use crate::yaml;

/// In the order in which they can be applied.
const FILES: [(&str, &str); 12] = [
    ("namespace.yaml", include_str!("../../deploy/namespace.yaml")),
    ("crd.yaml", include_str!("../../deploy/crd.yaml")),
    ("serviceaccount.yaml", include_str!("../../deploy/serviceaccount.yaml")),
    ("clusterrole.yaml", include_str!("../../deploy/clusterrole.yaml")),
    ("clusterrolebinding.yaml", include_str!("../../deploy/clusterrolebinding.yaml")),
    ("role.yaml", include_str!("../../deploy/role.yaml")),
    ("rolebinding.yaml", include_str!("../../deploy/rolebinding.yaml")),
    ("networkpolicy.yaml", include_str!("../../deploy/networkpolicy.yaml")),
    ("poddisruptionbudget.yaml", include_str!("../../deploy/poddisruptionbudget.yaml")),
    ("service.yaml", include_str!("../../deploy/service.yaml")),
    ("deployment.yaml", include_str!("../../deploy/deployment.yaml")),
    ("webhook.yaml", include_str!("../../deploy/webhook.yaml")),
];

/// What the control plane needs to get Secrets that policies name; only where that is asked for.
const PULL_SECRETS: &str = include_str!("../../deploy/pull-secrets/clusterrole.yaml");

/// The role for Secrets that policies name.
pub(crate) fn pull_secrets() -> anyhow::Result<Value> {
    yaml::read(PULL_SECRETS).context("deploy/pull-secrets/clusterrole.yaml")
}

/// The objects, each by itself.
pub(crate) fn objects() -> anyhow::Result<Vec<Value>> {
    let mut objects = Vec::new();
    for (name, text) in FILES {
        for document in yaml::documents(text) {
            objects.push(yaml::read(document).with_context(|| format!("deploy/{name}"))?);
        }
    }
    Ok(objects)
}

/// The text that makes these objects, after this comment.
pub(crate) fn text(comment: &str, objects: &[Value]) -> anyhow::Result<String> {
    let mut text: String = comment.lines().map(|line| format!("# {line}\n")).collect();
    for object in objects {
        text += "---\n";
        text += &yaml::write(object)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::{FILES, objects, text};
    use crate::yaml;

    #[test]
    fn every_file_of_the_base_is_embedded() {
        let base = yaml::read(include_str!("../../deploy/kustomization.yaml")).unwrap();
        let listed: Vec<_> = base["resources"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(listed, FILES.map(|(name, _)| name));
    }

    #[test]
    fn nothing_is_twice_and_nothing_is_lost_in_writing() {
        let objects = objects().unwrap();
        let names: BTreeSet<_> =
            objects.iter().map(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string())).collect();
        assert_eq!(names.len(), FILES.len());
        let text = text("one\ntwo", &objects).unwrap();
        assert!(text.starts_with("# one\n# two\n---\n"), "{text}");
        let read: Vec<Value> =
            yaml::documents(&text).into_iter().map(|document| yaml::read(document).unwrap()).collect();
        assert_eq!(read, objects);
    }

    #[test]
    fn the_version_is_ours_and_the_bundle_is_not_there() {
        let all = objects().unwrap().iter().map(ToString::to_string).collect::<String>();
        for image in ["wasmesh-proxy", "wasmesh-control-plane"] {
            let image = format!("ghcr.io/wasmesh/{image}:{}\"", env!("CARGO_PKG_VERSION"));
            assert!(all.contains(&image), "deploy/deployment.yaml has not {image}");
        }
        assert!(!all.contains("caBundle"), "the control plane writes it");
    }
}

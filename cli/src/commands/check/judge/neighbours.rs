//! Other meshes in the cluster.

use super::{
    super::{facts::ClusterFacts, finding::Finding},
    label, meshed_namespaces, name, some,
};

/// Other meshes: what their webhooks and their definitions are called, and the labels with which namespaces ask for them.
const MESHES: [(&str, &[&str], &[&str]); 4] = [
    (
        "Istio",
        &["istio-sidecar-injector", "networking.istio.io"],
        &["istio-injection", "istio.io/rev", "istio.io/dataplane-mode"],
    ),
    ("Linkerd", &["linkerd-proxy-injector", "linkerd.io"], &["linkerd.io/inject"]),
    ("Kuma", &["kuma-admission", "kuma.io"], &["kuma.io/sidecar-injection"]),
    ("Consul", &["consul-connect-injector", "consul.hashicorp.com"], &["connect-inject"]),
];

/// Other meshes in the cluster.
pub(super) fn meshes(facts: &ClusterFacts) -> Vec<Finding> {
    const ABOUT: &str = "other meshes";
    let (webhooks, crds) = match (&facts.webhooks, &facts.crd_names) {
        (Ok(webhooks), Ok(crds)) => (webhooks, crds),
        (Err(why), _) | (_, Err(why)) => return vec![Finding::unknown(ABOUT, why)],
    };
    let names: Vec<_> = webhooks.iter().map(|it| name(&it.metadata)).chain(crds.iter().map(String::as_str)).collect();
    let mut findings = Vec::new();
    for (mesh, signs, labels) in MESHES {
        if !signs.iter().any(|sign| names.iter().any(|name| name.contains(sign))) {
            continue;
        }
        let both = meshed_namespaces(facts).filter(|it| {
            labels.iter().any(|asks| {
                let value =
                    label(&it.metadata, asks).or_else(|| Some(it.metadata.annotations.as_ref()?.get(*asks)?.as_str()));
                value.is_some_and(|value| value != "disabled" && value != "false")
            })
        });
        let both: Vec<_> = both.map(|namespace| name(&namespace.metadata)).collect();
        findings.push(if both.is_empty() {
            Finding::note(ABOUT, format!("{mesh} is installed: pods with its sidecar are left alone"), "")
        } else {
            let says =
                format!("both {mesh} and wasmesh are asked for by {}: one sidecar per pod", some(both.iter().copied()));
            Finding::warning(
                ABOUT,
                says,
                format!("take the label of {mesh} or wasmesh.io/inject away from these namespaces"),
            )
        });
    }
    if findings.is_empty() {
        findings.push(Finding::good(ABOUT, "none"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::super::finding::Level, super::tests::*, *};

    #[test]
    fn another_mesh_is_a_note_until_a_namespace_asks_for_both() {
        let istio = |labels: Value| ClusterFacts {
            webhooks: Ok(objects(&[json!({ "metadata": { "name": "istio-sidecar-injector-1-30" } })])),
            namespaces: Ok(objects(&[json!({ "metadata": { "name": "shop", "labels": labels } })])),
            ..cluster()
        };
        let both = json!({ "wasmesh.io/inject": "enabled", "istio-injection": "enabled" });
        assert_eq!(levels(&meshes(&istio(both))), [Level::Warning]);
        let one = json!({ "wasmesh.io/inject": "enabled", "istio-injection": "disabled" });
        assert_eq!(levels(&meshes(&istio(one))), [Level::Note]);
        let crds = Ok(vec!["servers.policy.linkerd.io".to_owned()]);
        assert_eq!(levels(&meshes(&ClusterFacts { crd_names: crds, ..cluster() })), [Level::Note]);
        assert_eq!(levels(&meshes(&cluster())), [Level::Good]);
    }
}

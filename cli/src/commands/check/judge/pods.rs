//! Pods that ask for the mesh: whether they are in it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::{
    super::{
        facts::{ClusterFacts, MeshFacts},
        finding::Finding,
    },
    INJECT, POD_SECURITY, installation, label, meshed_namespaces, name, some,
    version::{is_close, tag},
};
use crate::kubernetes::{containers, sidecar};

const ABOUT: &str = "pods";
const RESTART: &str = "sidecars come with new pods: kubectl -n NAMESPACE rollout restart deploy,statefulset,daemonset";

pub(super) fn pods(facts: &ClusterFacts, mesh: &MeshFacts) -> Vec<Finding> {
    if let Err(why) = &facts.namespaces {
        return vec![Finding::unknown("namespaces", why)];
    }
    let mut findings = namespaces(facts);
    let pods = match &mesh.pods {
        Ok(pods) => pods.iter().filter(|pod| is_here_to_stay(pod)).collect::<Vec<_>>(),
        Err(why) => return [findings, vec![Finding::unknown(ABOUT, why)]].concat(),
    };
    let (meshed, without): (Vec<&Pod>, Vec<&Pod>) = pods.into_iter().partition(|pod| sidecar(pod).is_some());
    if !meshed.is_empty() {
        findings.push(Finding::good(ABOUT, format!("{} have a sidecar", meshed.len())));
    }
    for (namespace, pods) in by_namespace(without.into_iter().filter(|pod| wants_a_sidecar(pod))) {
        let says = format!("{} of namespace {namespace} have no sidecar: {}", pods.len(), some(pods));
        findings.push(Finding::warning(ABOUT, says, RESTART.replace("NAMESPACE", namespace)));
    }
    findings.extend(skew(facts, &meshed));
    findings
}

fn namespaces(facts: &ClusterFacts) -> Vec<Finding> {
    const ABOUT: &str = "namespaces";
    let meshed: Vec<_> = meshed_namespaces(facts).collect();
    if meshed.is_empty() {
        let fix = format!("kubectl label namespace NAMESPACE {INJECT}=enabled, then restart its pods");
        return vec![Finding::note(ABOUT, "none asks for the mesh", fix)];
    }
    let names = some(meshed.iter().map(|namespace| name(&namespace.metadata)));
    let mut findings = vec![Finding::good(ABOUT, format!("{} ask for the mesh: {names}", meshed.len()))];
    for namespace in meshed {
        let level = label(&namespace.metadata, POD_SECURITY).filter(|level| *level != "privileged");
        if let Some(level) = level {
            let says = format!(
                "{} enforces Pod Security {level}, which forbids NET_ADMIN: connections of its pods are not captured",
                name(&namespace.metadata)
            );
            let fix = format!(
                "have applications use http_proxy=http://127.0.0.1:19002, or allow it: kubectl label --overwrite namespace {} \
                 {POD_SECURITY}=privileged",
                name(&namespace.metadata)
            );
            findings.push(Finding::warning(ABOUT, says, fix));
        }
    }
    findings
}

/// Sidecars of other versions than the control plane can talk to.
fn skew(facts: &ClusterFacts, meshed: &[&Pod]) -> Vec<Finding> {
    const ABOUT: &str = "versions";
    let Some(control_plane) = installation::version(&facts.deployment) else { return Vec::new() };
    let mut far: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for pod in meshed {
        let version = sidecar(pod).and_then(|container| tag(container.image.as_deref()?));
        if let Some(version) = version.filter(|version| is_close(version, control_plane) == Some(false)) {
            far.entry(version).or_default().push(name(&pod.metadata));
        }
    }
    let findings = far.into_iter().map(|(version, pods)| {
        let says = format!(
            "{} sidecars are of version {version}, the control plane is of {control_plane}, more than one minor apart: {}",
            pods.len(),
            some(pods)
        );
        Finding::warning(ABOUT, says, RESTART)
    });
    findings.collect()
}

fn is_here_to_stay(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether it has no sidecar although nothing is known that forbids it.
fn wants_a_sidecar(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let is_windows = spec.os.as_ref().is_some_and(|os| os.name == "windows");
    let is_out = label(&pod.metadata, INJECT) == Some("disabled");
    let has_another =
        containers(spec).any(|it| ["istio-proxy", "linkerd-proxy", "kuma-sidecar"].contains(&it.name.as_str()));
    !(is_out || is_windows || has_another || spec.host_network == Some(true))
}

fn by_namespace<'a>(pods: impl Iterator<Item = &'a Pod>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut found: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for pod in pods {
        found.entry(pod.metadata.namespace.as_deref().unwrap_or_default()).or_default().push(name(&pod.metadata));
    }
    found
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "a test writes its objects down where they are used")]
mod tests {
    use serde_json::{Value, json};

    use super::{super::super::finding::Level, super::tests::*, *};

    fn namespace(name: &str, labels: Value) -> Value {
        json!({ "metadata": { "name": name, "labels": labels } })
    }

    fn pod(name: &str, sidecar: Option<&str>, more: Value) -> Value {
        let image = sidecar.map(|version| format!("ghcr.io/wasmesh/wasmesh-proxy:{version}"));
        let init: Vec<_> = image.map(|image| json!({ "name": "wasmesh-proxy", "image": image })).into_iter().collect();
        let mut spec = json!({ "initContainers": init, "containers": [{ "name": "app" }] });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec })
    }

    fn judge(labels: Value, all: &[Value]) -> Vec<Finding> {
        let template = json!({ "spec": { "containers": [{ "name": "control-plane", "image": "cp:0.3.0" }] } });
        let deployment = object(json!({ "spec": { "selector": {}, "template": template } }));
        let namespaces = objects(&[namespace("shop", labels), namespace("other", json!({}))]);
        let facts = ClusterFacts { namespaces: Ok(namespaces), deployment: Ok(Some(deployment)), ..cluster() };
        pods(&facts, &MeshFacts { pods: Ok(objects(all)), ..mesh() })
    }

    fn enabled() -> Value {
        json!({ "wasmesh.io/inject": "enabled" })
    }

    #[test]
    fn pods_without_a_sidecar_are_named() {
        let findings = judge(enabled(), &[pod("a", Some("0.3.0"), json!({})), pod("b", None, json!({}))]);
        assert_eq!(levels(&findings), [Level::Good, Level::Good, Level::Warning]);
        assert!(findings[2].says.contains("shop have no sidecar: b"), "{findings:?}");
        assert!(findings[2].fix.contains("kubectl -n shop rollout restart"), "{findings:?}");
    }

    #[test]
    fn pods_that_are_left_alone_are_not_missed() {
        let mut out = pod("out", None, json!({}));
        out["metadata"]["labels"] = json!({ "wasmesh.io/inject": "disabled" });
        let mut done = pod("done", None, json!({}));
        done["status"] = json!({ "phase": "Succeeded" });
        let host = pod("host", None, json!({ "hostNetwork": true }));
        let windows = pod("windows", None, json!({ "os": { "name": "windows" } }));
        let istio = pod("istio", None, json!({ "containers": [{ "name": "istio-proxy" }] }));
        assert_eq!(levels(&judge(enabled(), &[out, done, host, windows, istio])), [Level::Good]);
    }

    #[test]
    fn sidecars_that_are_too_old_are_named() {
        let all = ["0.1.0", "0.2.0", "0.3.1", "0.4.0", "dev"];
        let all: Vec<_> = all.iter().map(|version| pod(version, Some(version), json!({}))).collect();
        let findings = judge(enabled(), &all);
        assert_eq!(levels(&findings), [Level::Good, Level::Good, Level::Warning]);
        assert!(findings[2].says.contains("0.1.0") && !findings[2].says.contains("0.2.0"), "{findings:?}");
    }

    #[test]
    fn a_namespace_that_forbids_capture_is_named() {
        let labels =
            |level: &str| json!({ "wasmesh.io/inject": "enabled", "pod-security.kubernetes.io/enforce": level });
        assert_eq!(levels(&judge(labels("restricted"), &[])), [Level::Good, Level::Warning]);
        assert_eq!(levels(&judge(labels("privileged"), &[])), [Level::Good]);
        assert_eq!(levels(&judge(json!({}), &[])), [Level::Note]);
    }
}

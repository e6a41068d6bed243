//! What is known of a cluster, judged. Pure.

mod advice;
mod cluster;
mod egress;
mod installation;
mod neighbours;
mod network;
mod pods;
mod resources;
mod trust;
mod version;

use k8s_openapi::{api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::Value;

use super::{
    facts::{ClusterFacts, MeshFacts},
    finding::Finding,
};

/// The label with which namespaces and pods ask for the mesh.
const INJECT: &str = "wasmesh.io/inject";

/// The label with which a namespace says what its pods may do.
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// Whether the mesh can be installed.
pub(super) fn before(facts: &ClusterFacts) -> Vec<Finding> {
    let mut findings = cluster::api_server(facts);
    findings.extend(cluster::permissions(&facts.permissions));
    findings.push(cluster::service_ranges_before(facts));
    findings.extend(neighbours::meshes(facts));
    findings.extend(network::socket_balancing(facts));
    findings
}

/// Whether the mesh works. `crd` is the definition of policies that this program knows.
pub(super) fn after(facts: &ClusterFacts, mesh: &MeshFacts, crd: &Value) -> Vec<Finding> {
    let mut findings = cluster::api_server(facts);
    findings.push(installation::definition(&mesh.crd, crd, &advice::install(facts)));
    findings.push(installation::deployment(&facts.deployment, &advice::install(facts)));
    findings.push(cluster::service_ranges_after(facts));
    findings.extend(trust::webhook(facts, mesh));
    findings.push(trust::certificate(mesh));
    findings.extend(pods::pods(facts, mesh));
    findings.extend(resources::resources(facts, mesh));
    findings.extend(neighbours::meshes(facts));
    findings.extend(network::socket_balancing(facts));
    findings.extend(egress::egress(facts, mesh));
    findings
}

/// Whether the label of a namespace, or of a pod, asks for the mesh.
pub(super) fn asks_for_the_mesh(metadata: &ObjectMeta) -> bool {
    label(metadata, INJECT) == Some("enabled")
}

fn label<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.labels.as_ref()?.get(name).map(String::as_str)
}

fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

fn meshed_namespaces(facts: &ClusterFacts) -> impl Iterator<Item = &Namespace> {
    facts.namespaces.iter().flatten().filter(|namespace| asks_for_the_mesh(&namespace.metadata))
}

/// A few of many, for a line: `a, b, c and 4 more`.
fn some<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const FEW: usize = 3;
    let names: Vec<_> = names.into_iter().collect();
    let shown = names.iter().take(FEW).copied().collect::<Vec<_>>().join(", ");
    if names.len() > FEW { format!("{shown} and {} more", names.len() - FEW) } else { shown }
}

/// What tests have in common.
#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::super::{
        facts::{ClusterFacts, MeshFacts},
        finding::{Finding, Level},
    };
    use super::some;

    pub(super) fn object<T: DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    pub(super) fn objects<T: DeserializeOwned>(values: &[Value]) -> Vec<T> {
        values.iter().cloned().map(object).collect()
    }

    /// A cluster of today without anything in it.
    pub(super) fn cluster() -> ClusterFacts {
        ClusterFacts {
            version: "v1.36.2".to_owned(),
            permissions: Vec::new(),
            service_cidrs: Ok(Some(objects(&[json!({ "spec": { "cidrs": ["10.96.0.0/16"] } })]))),
            webhooks: Ok(Vec::new()),
            crd_names: Ok(Vec::new()),
            cilium: Ok(None),
            felix: Ok(Vec::new()),
            namespaces: Ok(Vec::new()),
            deployment: Ok(None),
        }
    }

    /// An installation of which nothing is there.
    pub(super) fn mesh() -> MeshFacts {
        MeshFacts {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            crd: Ok(None),
            secret: Ok(None),
            trial: Err("not tried".to_owned()),
            pods: Ok(Vec::new()),
            network_policies: Ok(Vec::new()),
            limit_ranges: Ok(Vec::new()),
            quotas: Ok(Vec::new()),
        }
    }

    pub(super) fn levels(findings: &[Finding]) -> Vec<Level> {
        findings.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn many_names_are_shortened() {
        assert_eq!(some(["a", "b", "c"]), "a, b, c");
        assert_eq!(some(["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }

    #[test]
    fn a_cluster_without_the_mesh_is_good_before_and_bad_after() {
        let before = super::before(&cluster());
        assert!(before.iter().all(|finding| finding.level == Level::Good), "{before:?}");
        let after = super::after(&cluster(), &mesh(), &json!({}));
        assert!(after.iter().filter(|finding| finding.level == Level::Error).count() >= 3, "{after:?}");
        for finding in after.iter().filter(|finding| finding.level >= Level::Warning) {
            assert!(!finding.fix.is_empty(), "{finding:?}");
        }
    }
}

//! What else is in the cluster that works on connections.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::{
    super::{
        facts::{ClusterFacts, MeshFacts},
        finding::Finding,
    },
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

/// The port on which sidecars reach the control plane.
const DISCOVERY: i32 = 19010;

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

/// A network that balances Services inside of connect(): the sidecar never sees their addresses.
pub(super) fn socket_balancing(facts: &ClusterFacts) -> Vec<Finding> {
    const ABOUT: &str = "network";
    let config = match &facts.cilium {
        Ok(Some(config)) => config,
        Ok(None) => return Vec::new(),
        Err(why) => return vec![Finding::unknown(ABOUT, why)],
    };
    let setting = |key: &str| config.data.as_ref().and_then(|data| data.get(key)).map(String::as_str);
    let replaces = matches!(setting("kube-proxy-replacement"), Some("true" | "strict" | "probe" | "partial"));
    let balances = replaces && setting("bpf-lb-sock") != Some("false") || setting("bpf-lb-sock") == Some("true");
    if !balances || setting("bpf-lb-sock-hostns-only") == Some("true") {
        return vec![Finding::good(ABOUT, "Cilium leaves the connections of pods to Services as they are")];
    }
    vec![Finding::error(
        ABOUT,
        "Cilium balances Services inside of connect(), so sidecars see addresses of pods and pass them through",
        "set socketLB.hostNamespaceOnly=true in Cilium's Helm values and restart its agents",
    )]
}

/// Namespaces from which sidecars cannot reach the control plane.
pub(super) fn egress(mesh: &MeshFacts) -> Vec<Finding> {
    const ABOUT: &str = "egress";
    let policies = match &mesh.network_policies {
        Ok(policies) => policies,
        Err(why) => return vec![Finding::unknown(ABOUT, why)],
    };
    let of = |policy: &NetworkPolicy| policy.metadata.namespace.clone().unwrap_or_default();
    let denied: BTreeSet<_> = policies.iter().filter(|policy| denies_everything(policy)).map(of).collect();
    let allowed: BTreeSet<_> = policies.iter().filter(|policy| allows_discovery(policy)).map(of).collect();
    let cut_off: Vec<_> = denied.difference(&allowed).map(String::as_str).collect();
    if cut_off.is_empty() {
        return Vec::new();
    }
    vec![Finding::warning(
        ABOUT,
        format!("NetworkPolicies keep the sidecars of {} from the control plane", some(cut_off)),
        format!("allow egress to the namespace wasmesh-system, TCP port {DISCOVERY}, for all pods"),
    )]
}

fn is_for_egress(policy: &NetworkPolicy) -> bool {
    let spec = policy.spec.as_ref();
    spec.and_then(|spec| spec.policy_types.as_ref()).is_some_and(|types| types.iter().any(|kind| kind == "Egress"))
}

/// Whether it forbids all pods of its namespace to connect to anywhere.
fn denies_everything(policy: &NetworkPolicy) -> bool {
    let Some(spec) = policy.spec.as_ref().filter(|_| is_for_egress(policy)) else { return false };
    let selector = spec.pod_selector.as_ref();
    let all = selector.is_none_or(|selector| {
        selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
            && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
    });
    all && spec.egress.as_ref().is_none_or(Vec::is_empty)
}

/// Whether it lets some pods reach the port of the control plane. Where to is not looked at: this is a hint, no proof.
fn allows_discovery(policy: &NetworkPolicy) -> bool {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let rules = policy.spec.iter().filter(|_| is_for_egress(policy)).flat_map(|spec| spec.egress.iter().flatten());
    rules.into_iter().any(|rule| {
        let ports = rule.ports.as_deref().unwrap_or_default();
        let is_discovery = |first: i32, last: Option<i32>| {
            first == DISCOVERY || last.is_some_and(|last| (first..=last).contains(&DISCOVERY))
        };
        ports.is_empty()
            || ports.iter().any(|port| match &port.port {
                None => true,
                Some(IntOrString::Int(first)) => is_discovery(*first, port.end_port),
                Some(IntOrString::String(name)) => name == "grpc-discovery",
            })
    })
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

    #[test]
    fn cilium_is_in_the_way_unless_it_is_told_not_to_be() {
        let check = |data: Value, level| {
            let facts = ClusterFacts { cilium: Ok(Some(object(json!({ "data": data })))), ..cluster() };
            assert_eq!(levels(&socket_balancing(&facts)), [level], "{data}");
        };
        check(json!({ "kube-proxy-replacement": "true" }), Level::Error);
        check(json!({ "kube-proxy-replacement": "true", "bpf-lb-sock-hostns-only": "true" }), Level::Good);
        check(json!({ "kube-proxy-replacement": "false" }), Level::Good);
        check(json!({ "kube-proxy-replacement": "false", "bpf-lb-sock": "true" }), Level::Error);
        check(json!({}), Level::Good);
        assert!(socket_balancing(&cluster()).is_empty());
    }

    #[test]
    fn a_namespace_that_lets_nothing_out_cuts_its_sidecars_off() {
        let policy = |spec: Value| json!({ "metadata": { "namespace": "shop", "name": "p" }, "spec": spec });
        let deny = || policy(json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] }));
        let allow = |ports: Value| {
            policy(json!({ "podSelector": {}, "policyTypes": ["Egress"], "egress": [{ "ports": ports }] }))
        };
        let check = |policies: &[Value], expected: &[Level]| {
            let findings = egress(&MeshFacts { network_policies: Ok(objects(policies)), ..mesh() });
            assert_eq!(levels(&findings), expected, "{policies:?}");
        };
        check(&[], &[]);
        check(&[deny()], &[Level::Warning]);
        check(&[deny(), allow(json!([{ "port": 53, "protocol": "UDP" }]))], &[Level::Warning]);
        check(&[deny(), allow(json!([{ "port": 19010 }]))], &[]);
        check(&[deny(), allow(json!([{ "port": 19000, "endPort": 19099 }]))], &[]);
        check(&[deny(), allow(json!([]))], &[]);
        let some_pods = json!({ "podSelector": { "matchLabels": { "app": "db" } }, "policyTypes": ["Egress"] });
        check(&[policy(some_pods)], &[]);
    }
}

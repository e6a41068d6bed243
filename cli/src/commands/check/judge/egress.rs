//! NetworkPolicies: whether they let sidecars reach the control plane.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        core::v1::Namespace,
        networking::v1::{NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{
    super::{
        facts::{ClusterFacts, MeshFacts},
        finding::Finding,
    },
    installation, meshed_namespaces, name, some,
};
use crate::kubernetes::SYSTEM;

const ABOUT: &str = "egress";

/// The port on which sidecars reach the control plane, and what its pods call it.
const DISCOVERY: i32 = 19010;
const DISCOVERY_NAME: &str = "grpc-discovery";

/// Every namespace has it, with its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

type Labels = BTreeMap<String, String>;

/// Pods that cannot reach the control plane, by namespace. A namespace that would cut off a pod without labels is named even if it has
/// no pods.
pub(super) fn egress(facts: &ClusterFacts, mesh: &MeshFacts) -> Vec<Finding> {
    let policies = match &mesh.network_policies {
        Ok(policies) => policies,
        Err(why) => return vec![Finding::unknown(ABOUT, why)],
    };
    let target = Target::of(facts);
    let none = Labels::new();
    let mut cut_off = BTreeSet::new();
    for namespace in meshed_namespaces(facts).map(|namespace| name(&namespace.metadata)) {
        let policies: Vec<_> =
            policies.iter().filter(|policy| policy.metadata.namespace.as_deref() == Some(namespace)).collect();
        let pods = mesh.pods.iter().flatten().filter(|pod| pod.metadata.namespace.as_deref() == Some(namespace));
        let of_pods = pods.map(|pod| pod.metadata.labels.as_ref().unwrap_or(&none));
        if of_pods.chain([&none]).any(|labels| is_cut_off(labels, &policies, &target)) {
            cut_off.insert(namespace);
        }
    }
    if cut_off.is_empty() {
        return Vec::new();
    }
    let namespaces = some(cut_off);
    vec![Finding::warning(
        ABOUT,
        format!("NetworkPolicies keep sidecars of {namespaces} from the control plane"),
        format!("allow egress to the namespace {SYSTEM}, TCP port {DISCOVERY}, for all pods there"),
    )]
}

/// The pods of the control plane.
struct Target {
    namespace: Labels,
    pod: Labels,
}

impl Target {
    fn of(facts: &ClusterFacts) -> Self {
        let is_system = |namespace: &&Namespace| name(&namespace.metadata) == SYSTEM;
        let found = facts.namespaces.iter().flatten().find(is_system);
        let mut namespace = found.and_then(|found| found.metadata.labels.clone()).unwrap_or_default();
        namespace.insert(NAME_LABEL.to_owned(), SYSTEM.to_owned());
        let pod = installation::pod_labels(&facts.deployment).unwrap_or_else(|| {
            BTreeMap::from([("app.kubernetes.io/name".to_owned(), "wasmesh-control-plane".to_owned())])
        });
        Self { namespace, pod }
    }
}

/// What no policy selects may go everywhere; what one selects may go where one of those that select it says.
fn is_cut_off(labels: &Labels, policies: &[&NetworkPolicy], target: &Target) -> bool {
    let specs = policies.iter().filter(|policy| is_for_egress(policy)).filter_map(|policy| policy.spec.as_ref());
    let mut selecting = specs.filter(|spec| spec.pod_selector.as_ref().is_none_or(|it| selects(it, labels))).peekable();
    selecting.peek().is_some()
        && !selecting.flat_map(|spec| spec.egress.iter().flatten()).any(|rule| admits(rule, target))
}

fn is_for_egress(policy: &NetworkPolicy) -> bool {
    let spec = policy.spec.as_ref();
    spec.and_then(|spec| spec.policy_types.as_ref()).is_some_and(|types| types.iter().any(|kind| kind == "Egress"))
}

fn admits(rule: &NetworkPolicyEgressRule, target: &Target) -> bool {
    // An empty list is the same as none: everything.
    let ports = rule.ports.as_deref().unwrap_or_default();
    let peers = rule.to.as_deref().unwrap_or_default();
    (ports.is_empty() || ports.iter().any(is_discovery))
        && (peers.is_empty() || peers.iter().any(|it| is_target(it, target)))
}

fn is_discovery(port: &NetworkPolicyPort) -> bool {
    port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP")
        && match &port.port {
            None => true,
            Some(IntOrString::Int(first)) => (*first..=port.end_port.unwrap_or(*first)).contains(&DISCOVERY),
            Some(IntOrString::String(name)) => name == DISCOVERY_NAME,
        }
}

/// Whether a peer may be the control plane. Of ranges of addresses it is not known which are its pods': they are taken to be.
fn is_target(peer: &NetworkPolicyPeer, target: &Target) -> bool {
    // Pods without a namespace are those of the policy's own.
    peer.ip_block.is_some()
        || peer.namespace_selector.as_ref().is_some_and(|it| selects(it, &target.namespace))
            && peer.pod_selector.as_ref().is_none_or(|it| selects(it, &target.pod))
}

fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    let mut wanted = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    wanted.all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|it| {
            let value = labels.get(&it.key);
            let is_listed = value.is_some_and(|value| it.values.iter().flatten().any(|listed| listed == value));
            match it.operator.as_str() {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "a test writes its objects down where they are used")]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            super::finding::Level,
            tests::{cluster, levels, mesh, objects},
        },
        *,
    };

    /// A policy for the pods that this selects.
    fn policy(selector: Value, rules: &[Value]) -> Value {
        let spec = json!({ "podSelector": selector, "policyTypes": ["Egress"], "egress": rules });
        json!({ "metadata": { "namespace": "shop", "name": "p" }, "spec": spec })
    }

    fn to(peers: Value) -> Value {
        json!({ "to": peers, "ports": [{ "port": 19010, "protocol": "TCP" }] })
    }

    fn ports(ports: Value) -> Value {
        json!({ "ports": ports })
    }

    #[track_caller]
    fn check(policies: &[Value], is_cut_off: bool) {
        let namespace = json!({ "metadata": { "name": "shop", "labels": { "wasmesh.io/inject": "enabled" } } });
        let pod = json!({
            "metadata": { "namespace": "shop", "name": "web", "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "web" }] },
        });
        let facts = ClusterFacts { namespaces: Ok(objects(&[namespace])), ..cluster() };
        let pods = Ok(objects(&[pod]));
        let found = egress(&facts, &MeshFacts { network_policies: Ok(objects(policies)), pods, ..mesh() });
        let expected: &[Level] = if is_cut_off { &[Level::Warning] } else { &[] };
        assert_eq!(levels(&found), expected, "{policies:#?}");
    }

    #[test]
    fn what_nothing_selects_may_go_everywhere() {
        check(&[], false);
        check(&[policy(json!({ "matchLabels": { "app": "db" } }), &[])], false);
        let ingress = json!({ "podSelector": {}, "policyTypes": ["Ingress"] });
        check(&[json!({ "metadata": { "namespace": "shop" }, "spec": ingress })], false);
        let elsewhere = json!({ "podSelector": {}, "policyTypes": ["Egress"] });
        check(&[json!({ "metadata": { "namespace": "other" }, "spec": elsewhere })], false);
    }

    #[test]
    fn a_port_has_to_be_admitted() {
        let all = || json!({});
        check(&[policy(all(), &[])], true);
        let dns = || ports(json!([{ "port": 53, "protocol": "UDP" }]));
        check(&[policy(all(), &[dns()])], true);
        check(&[policy(all(), &[ports(json!([{ "port": 19010, "protocol": "UDP" }]))])], true);
        check(&[policy(all(), &[dns(), ports(json!([{ "port": 19010 }]))])], false);
        check(&[policy(all(), &[]), policy(all(), &[ports(json!([{ "port": 19000, "endPort": 19099 }]))])], false);
        check(&[policy(all(), &[ports(json!([{ "port": "grpc-discovery" }]))])], false);
        check(&[policy(all(), &[json!({})])], false);
    }

    #[test]
    fn a_place_has_to_be_admitted() {
        let check_to = |peer: Value, is_cut_off| check(&[policy(json!({}), &[to(json!([peer]))])], is_cut_off);
        let by_name = |name: &str| json!({ "matchLabels": { "kubernetes.io/metadata.name": name } });
        check_to(json!({ "namespaceSelector": by_name("wasmesh-system") }), false);
        check_to(json!({ "namespaceSelector": {} }), false);
        check_to(json!({ "namespaceSelector": by_name("kube-system") }), true);
        check_to(json!({ "podSelector": {} }), true);
        let control_plane = json!({ "matchLabels": { "app.kubernetes.io/name": "wasmesh-control-plane" } });
        check_to(json!({ "namespaceSelector": by_name("wasmesh-system"), "podSelector": control_plane }), false);
        let other = json!({ "matchExpressions": [{ "key": "app.kubernetes.io/name", "operator": "DoesNotExist" }] });
        check_to(json!({ "namespaceSelector": {}, "podSelector": other }), true);
        check_to(json!({ "ipBlock": { "cidr": "10.0.0.0/8" } }), false);
    }

    #[test]
    fn one_pod_that_is_cut_off_is_enough() {
        let web = json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web"] }] });
        check(&[policy(web.clone(), &[ports(json!([{ "port": 443 }]))])], true);
        check(&[policy(web.clone(), &[]), policy(json!({}), &[ports(json!([{ "port": 19010 }]))])], false);
        check(&[policy(json!({}), &[]), policy(web, &[ports(json!([{ "port": 19010 }]))])], true);
    }
}

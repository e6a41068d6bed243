//! Networks that balance Services inside of connect(): sidecars never see the addresses of these.

use kube::core::DynamicObject;
use serde_json::Value;

use super::{
    super::{facts::ClusterFacts, finding::Finding},
    name, some,
};

const ABOUT: &str = "network";

/// By default sidecars see nothing of such connections, and no metric shows what is not seen.
const TO_SEE_IT: &str = "to see which Services that concerns, give a pod the annotation \
    wasmesh.io/include-outbound-cidrs with the cluster's range of pods: its sidecar then counts these connections in \
    wasmesh_pod_connections_total{kind=\"cluster-ip\"}";

/// What is known of the cluster's network; nothing if it is none that could be in the way.
pub(super) fn socket_balancing(facts: &ClusterFacts) -> Vec<Finding> {
    cilium(facts).into_iter().chain(calico(facts)).collect()
}

fn cilium(facts: &ClusterFacts) -> Option<Finding> {
    let config = match &facts.cilium {
        Ok(config) => config.as_ref()?,
        Err(why) => return Some(Finding::unknown(ABOUT, why)),
    };
    let setting = |key: &str| config.data.as_ref().and_then(|data| data.get(key)).map(String::as_str);
    let replaces = matches!(setting("kube-proxy-replacement"), Some("true" | "strict" | "probe" | "partial"));
    let balances = replaces && setting("bpf-lb-sock") != Some("false") || setting("bpf-lb-sock") == Some("true");
    if !balances || setting("bpf-lb-sock-hostns-only") == Some("true") {
        return Some(Finding::good(ABOUT, "Cilium leaves the connections of pods to Services as they are"));
    }
    Some(Finding::error(
        ABOUT,
        "Cilium balances Services inside of connect(), so connections go to addresses of pods and policies have no say",
        format!("set socketLB.hostNamespaceOnly=true in Cilium's Helm values and restart its agents; {TO_SEE_IT}"),
    ))
}

/// Calico's data plane of eBPF. Each node does what `default` says, unless `node.NAME` says otherwise.
fn calico(facts: &ClusterFacts) -> Option<Finding> {
    let all = match &facts.felix {
        Ok(all) => all,
        Err(why) => return Some(Finding::unknown(ABOUT, why)),
    };
    let default = all.iter().find(|felix| name(&felix.metadata) == "default");
    let balancing = all.iter().filter(|felix| {
        let setting = |key: &str| [Some(*felix), default].into_iter().flatten().find_map(|felix| spec(felix, key));
        setting("bpfEnabled").and_then(Value::as_bool) == Some(true) && balances(setting)
    });
    let names: Vec<_> = balancing.map(|felix| name(&felix.metadata)).collect();
    if names.is_empty() {
        let uses_it = all.iter().any(|felix| spec(felix, "bpfEnabled").and_then(Value::as_bool) == Some(true));
        return uses_it.then(|| Finding::good(ABOUT, "Calico leaves the connections of pods to Services as they are"));
    }
    let patch = r#"{"spec":{"bpfConnectTimeLoadBalancing":"Disabled","bpfHostNetworkedNATWithoutCTLB":"Enabled"}}"#;
    Some(Finding::error(
        ABOUT,
        "Calico's eBPF data plane balances Services inside of connect(), so connections go to addresses of pods and policies have no say",
        format!(
            "kubectl patch felixconfiguration NAME --type=merge --patch='{patch}', NAME being {}; {TO_SEE_IT}",
            some(names)
        ),
    ))
}

/// It does so for TCP unless it is told not to; the second setting is what the first was before Calico 3.28.
fn balances<'a>(setting: impl Fn(&str) -> Option<&'a Value>) -> bool {
    match setting("bpfConnectTimeLoadBalancing").and_then(Value::as_str) {
        Some(value) => value != "Disabled",
        None => setting("bpfConnectTimeLoadBalancingEnabled").and_then(Value::as_bool) != Some(false),
    }
}

fn spec<'a>(felix: &'a DynamicObject, key: &str) -> Option<&'a Value> {
    felix.data.get("spec")?.get(key).filter(|value| !value.is_null())
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "a test writes its objects down where they are used")]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::{
            super::finding::Level,
            tests::{cluster, levels, object, objects},
        },
        *,
    };

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
    fn it_is_said_how_to_see_which_services_are_concerned() {
        let cilium = object(json!({ "data": { "kube-proxy-replacement": "true" } }));
        let calico = felix("default", json!({ "bpfEnabled": true }));
        let facts = ClusterFacts { cilium: Ok(Some(cilium)), felix: Ok(objects(&[calico])), ..cluster() };
        let found = socket_balancing(&facts);
        assert_eq!(levels(&found), [Level::Error, Level::Error]);
        for finding in found {
            assert!(finding.fix.contains("wasmesh.io/include-outbound-cidrs"), "{finding:?}");
            assert!(finding.fix.contains("wasmesh_pod_connections_total"), "{finding:?}");
        }
    }

    fn felix(name: &str, spec: Value) -> Value {
        json!({
            "apiVersion": "crd.projectcalico.org/v1", "kind": "FelixConfiguration",
            "metadata": { "name": name }, "spec": spec,
        })
    }

    #[test]
    fn calico_is_in_the_way_with_ebpf_unless_it_is_told_not_to_be() {
        let check = |all: &[Value], expected: &[Level]| {
            let found = socket_balancing(&ClusterFacts { felix: Ok(objects(all)), ..cluster() });
            assert_eq!(levels(&found), expected, "{all:#?}");
            found
        };
        let default = |spec| felix("default", spec);
        check(&[default(json!({}))], &[]);
        check(&[default(json!({ "bpfEnabled": false, "bpfConnectTimeLoadBalancing": "TCP" }))], &[]);
        check(&[default(json!({ "bpfEnabled": true }))], &[Level::Error]);
        check(&[default(json!({ "bpfEnabled": true, "bpfConnectTimeLoadBalancing": "TCP" }))], &[Level::Error]);
        check(&[default(json!({ "bpfEnabled": true, "bpfConnectTimeLoadBalancing": "Disabled" }))], &[Level::Good]);
        check(&[default(json!({ "bpfEnabled": true, "bpfConnectTimeLoadBalancingEnabled": false }))], &[Level::Good]);

        let node = |spec| felix("node.one", spec);
        let of_node =
            [default(json!({ "bpfConnectTimeLoadBalancing": "Enabled" })), node(json!({ "bpfEnabled": true }))];
        let found = check(&of_node, &[Level::Error]);
        assert!(found[0].fix.contains("NAME being node.one; "), "{found:?}");
        let without =
            [default(json!({ "bpfEnabled": true, "bpfConnectTimeLoadBalancing": "Disabled" })), node(json!({}))];
        check(&without, &[Level::Good]);
        let unknown = socket_balancing(&ClusterFacts { felix: Err("forbidden".to_owned()), ..cluster() });
        assert_eq!(levels(&unknown), [Level::Note]);
    }
}

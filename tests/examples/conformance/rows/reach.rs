//! Who is reached: nobody, one family, one node, one zone, always the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wasmesh_tests::until;

use super::Run;
use crate::{
    manifests::{ready, with},
    pod::Pod,
};

pub(super) fn row_8_nobody_there(run: &Run<'_>) {
    let [one, _, three] = run.backends();
    // Whoever does not refuse it leads to this one.
    run.lead(run.address(), three);
    run.apply(&[run.service(json!({}))]);
    run.cluster.clients.iter().for_each(|client| client.assert_refused(run.address()));
    let reached = || until("it is reached", || run.client().dial(run.address()).is_ok());
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    reached();
    run.client().assert_reaches(run.address(), &[one], "an endpoint that has come");
    let not_ready = json!({ "addresses": [run.ip(one)], "conditions": { "ready": false } });
    run.apply(&[run.service(json!({})), run.slice("a", &[not_ready])]);
    run.cluster.clients.iter().for_each(|client| client.assert_refused(run.address()));
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    reached();
}

pub(super) fn row_19_families(run: &Run<'_>) {
    let [one, ..] = run.backends();
    let vips = [run.family, run.family.other()].map(|family| family.service(run.number, 1));
    let both = json!({ "clusterIPs": vips, "ipFamilyPolicy": "RequireDualStack" });
    let names = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "row-19-fqdn", "namespace": "shop", "labels": { "kubernetes.io/service-name": run.name } },
        "addressType": "FQDN",
        "ports": [{ "name": "tcp", "port": 80 }],
        "endpoints": [{ "addresses": ["out.example"] }],
    });
    run.apply(&[run.service(both), run.slice_of("a", &[one]), names]);
    run.client().assert_reaches((vips[0], 80), &[one], "the family that has an endpoint");
    run.client().assert_refused((vips[1], 80));
}

pub(super) fn row_20_session_affinity(run: &Run<'_>) {
    let pods = run.backends();
    let pinned = || {
        run.service(json!({
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 10_800 } },
        }))
    };
    let who = || {
        let tally = run.client().tally(run.address(), 40);
        tally.into_keys().collect::<BTreeSet<_>>()
    };
    run.apply(&[pinned(), run.slice_of("a", &pods)]);
    let first = who();
    assert_eq!(first.len(), 1, "{first:?}");
    run.apply(&[run.service(json!({})), run.slice_of("a", &pods)]);
    assert_eq!(who().len(), 3, "without affinity");
    run.apply(&[pinned(), run.slice_of("a", &pods)]);
    assert_eq!(who(), first, "the pod's name chooses, so the same one again");
    let others: Vec<_> = pods.into_iter().filter(|pod| !first.contains(pod.name)).collect();
    run.apply(&[pinned(), run.slice_of("a", &others)]);
    let second = who();
    assert!(second.len() == 1 && second != first, "its endpoint is gone: {second:?}");
}

fn on_node(run: &Run<'_>, pod: &Pod, node: &str) -> Value {
    with(ready(run.ip(pod)), "/nodeName", node.into())
}

pub(super) fn row_21_local(run: &Run<'_>) {
    let ([one, two, _], [a, b]) = (run.backends(), run.cluster.clients.each_ref());
    let service = || run.service(json!({ "internalTrafficPolicy": "Local" }));
    run.apply(&[service(), run.slice("a", &[on_node(run, one, "node-a"), on_node(run, two, "node-b")])]);
    a.assert_reaches(run.address(), &[one], "the first node's");
    b.assert_reaches(run.address(), &[two], "the second node's");
    run.apply(&[service(), run.slice("a", &[on_node(run, two, "node-b")])]);
    a.assert_refused(run.address());
    b.assert_reaches(run.address(), &[two], "the only one");
}

pub(super) fn row_22_external_policy(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let spec = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32_000 });
    run.apply(&[run.service(spec), run.slice("a", &[on_node(run, one, "node-a"), on_node(run, two, "node-b")])]);
    run.cluster.clients.iter().for_each(|client| client.assert_reaches(run.address(), &[one, two], "inside"));
}

pub(super) fn row_23_hints(run: &Run<'_>) {
    let ([one, two, three], [a, b]) = (run.backends(), run.cluster.clients.each_ref());
    let hint = |pod: &Pod, hints: Value| with(ready(run.ip(pod)), "/hints", hints);
    let zone = |name: &str| json!({ "forZones": [{ "name": name }] });
    let node = |name: &str, of: &str| json!({ "forZones": [{ "name": of }], "forNodes": [{ "name": name }] });
    let reach = |endpoints: &[Value], from_a: &[&Pod], from_b: &[&Pod], what: &str| {
        run.apply(&[run.service(json!({ "trafficDistribution": "PreferSameZone" })), run.slice("a", endpoints)]);
        a.assert_reaches(run.address(), from_a, what);
        b.assert_reaches(run.address(), from_b, what);
    };
    let zones = [hint(one, zone("zone-a")), hint(two, zone("zone-b")), hint(three, zone("zone-b"))];
    reach(&zones, &[one], &[two, three], "zones");
    let one_missing = [zones[0].clone(), zones[1].clone(), ready(run.ip(three))];
    reach(&one_missing, &[one, two, three], &[one, two, three], "one hint missing");
    let elsewhere = [hint(two, zone("zone-b")), hint(three, zone("zone-b"))];
    reach(&elsewhere, &[two, three], &[two, three], "none for the first zone");
    let nodes = [
        hint(one, node("node-a", "zone-a")),
        hint(two, node("node-b", "zone-b")),
        hint(three, node("node-c", "zone-b")),
    ];
    reach(&nodes, &[one], &[two], "nodes");
}

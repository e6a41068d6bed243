//! What the fields of Services, slices, pods and nodes become, and what is said of those that are wrong.

mod common;

use common::{HTTP, HTTP_8080, deletes, endpoints, port, registry, service, shown, slice, upserts, web};
use wasmesh_core::policy::BuiltinPolicy;

#[test]
fn the_policy_annotation_chooses_for_every_port() {
    let check = |policy: &str, expected: BuiltinPolicy| {
        let annotated = format!("namespace: shop, annotations: {{wasmesh.io/policy: {policy}}}");
        let registry =
            registry(&web("{name: a, port: 1}, {name: b, port: 2}", "").replace("namespace: shop", &annotated));
        let web = service(&registry, "shop/web");
        assert_eq!([&port(&web, "a").policy, &port(&web, "b").policy], [&expected.into(); 2], "{policy}");
        shown(registry.problems())
    };
    assert_eq!(check("round-robin", BuiltinPolicy::RoundRobin), [""; 0]);
    assert_eq!(check("PeakEWMA", BuiltinPolicy::PeakEwma), [""; 0]);
    let problems = check("fastest", BuiltinPolicy::LeastRequest);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("Service shop/web: metadata.annotations[wasmesh.io/policy]: \"fastest\" is not"));
}

#[test]
fn one_bad_port_does_not_take_the_others() {
    let yaml = web(
        "{name: a, port: 80}, {name: b, port: 0}, {name: c, port: 65536}, {name: a, port: 81}, {name: d, port: 80}, \
         {name: e, port: 80, protocol: UDP}, {name: f, port: 82, protocol: QUIC}",
        "",
    );
    let registry = registry(&yaml);
    let names: Vec<_> = service(&registry, "shop/web").spec.value.ports.iter().map(|port| port.name.clone()).collect();
    assert_eq!(names, ["a", "e"]);
    assert_eq!(
        shown(registry.problems()),
        [
            "Service shop/web: spec.ports[1].port: 0 is not a port number: use 1 to 65535; this port is left out",
            "Service shop/web: spec.ports[2].port: 65536 is not a port number: use 1 to 65535; this port is left out",
            "Service shop/web: spec.ports[3].name: \"a\" names another port already: give each port a name of its own; this port is left out",
            "Service shop/web: spec.ports[4].port: 80 is declared twice for the same protocol; this port is left out",
            "Service shop/web: spec.ports[6].protocol: \"QUIC\" is unknown: write TCP, UDP or SCTP; this port is left out",
        ]
    );
}

#[test]
fn bad_addresses_and_choices_are_named_and_left_out() {
    let check = |yaml: &str, expected: &str| {
        let problems = shown(registry(yaml).problems());
        assert_eq!(problems, [expected]);
    };
    let vips =
        |addresses: &str| web(HTTP, "").replace("clusterIPs: [10.96.0.1]", &format!("clusterIPs: [{addresses}]"));
    check(
        &vips("10.96.0.300"),
        "Service shop/web: spec.clusterIPs: \"10.96.0.300\" is not an IP address: it is left out, write it as 10.96.0.1 or fd00::1",
    );
    check(
        &vips("10.96.0.1, 10.96.0.2"),
        "Service shop/web: spec.clusterIPs: 10.96.0.2 is left out: 10.96.0.1 is already the IPv4 address",
    );
    check(
        &vips("0.0.0.0"),
        "Service shop/web: spec.clusterIPs: 0.0.0.0 cannot be the address of a Service: it is left out",
    );
    check(
        &web(HTTP, ", sessionAffinity: Cookie"),
        "Service shop/web: spec.sessionAffinity: \"Cookie\" is unknown, so requests are not pinned: write ClientIP or None",
    );
    check(
        &web(HTTP, ", internalTrafficPolicy: Nearby"),
        "Service shop/web: spec.internalTrafficPolicy: \"Nearby\" is unknown, so every endpoint is used: write Cluster or Local",
    );
    check(
        &web(HTTP, ", type: ExternalName"),
        "Service shop/web: spec.externalName: is missing: name the host that this Service stands for",
    );
    let broken = |endpoints: &str| web(HTTP, "") + &slice("a", HTTP_8080, endpoints);
    check(
        &broken("{addresses: []}"),
        "EndpointSlice shop/a: endpoints[0].addresses: there is no address: give each endpoint one; this endpoint is left out",
    );
    check(
        &broken("{addresses: [10.0.0.1]}, {addresses: [web-1]}"),
        "EndpointSlice shop/a: endpoints[1].addresses: \"web-1\" is not an IP address; this endpoint is left out",
    );
    check(
        &broken("{addresses: [10.0.0.1, 10.0.0.2]}"),
        "EndpointSlice shop/a: endpoints[0].addresses: only 10.0.0.1 is used, as by kube-proxy: list the others on their own",
    );
    check(
        &(web(HTTP, "") + &slice("a", HTTP_8080, "").replace("IPv4", "IPv5")),
        "EndpointSlice shop/a: addressType: \"IPv5\" is unknown, so the slice is left out: write IPv4 or IPv6",
    );
}

#[test]
fn pods_give_weight_and_priority_and_nodes_give_zones() {
    let pod = |annotations: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: web-1, namespace: shop, annotations: {{{annotations}}}}}\n"
        )
    };
    let node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/zone: zone-a}}\n";
    let yaml = web(HTTP, "")
        + &slice("a", HTTP_8080, "{addresses: [10.0.0.1], nodeName: n1, targetRef: {kind: Pod, name: web-1}}");
    let mut registry = registry(&yaml);
    let found = |registry: &_| {
        let endpoint = endpoints(&service(registry, "shop/web"), "http")[0].clone();
        (endpoint.weight, endpoint.priority, endpoint.zone.clone(), endpoint.id)
    };
    let id = found(&registry).3;
    assert_eq!(found(&registry), (1, 0, String::new(), id));
    registry.apply(upserts(&(pod("wasmesh.io/weight: '5', wasmesh.io/priority: '1'") + node)));
    assert_eq!(found(&registry), (5, 1, "zone-a".into(), id));

    registry.apply(upserts(&pod("wasmesh.io/weight: '0', wasmesh.io/priority: high")));
    assert_eq!(found(&registry), (1, 0, "zone-a".into(), id));
    assert_eq!(
        shown(registry.problems()),
        [
            "Pod shop/web-1: metadata.annotations[wasmesh.io/priority]: \"high\" is not a whole number from 0: 0 is used instead",
            "Pod shop/web-1: metadata.annotations[wasmesh.io/weight]: \"0\" is not a whole number from 1: 1 is used instead",
        ]
    );
    registry.apply(deletes(&(pod("") + node)));
    assert_eq!(found(&registry), (1, 0, String::new(), id));
    assert_eq!(shown(registry.problems()), [""; 0]);
}

#[test]
fn another_pod_on_the_same_address_is_another_endpoint() {
    let id = |target: &str| {
        let yaml = web(HTTP, "") + &slice("a", HTTP_8080, &format!("{{addresses: [10.0.0.1]{target}}}"));
        endpoints(&service(&registry(&yaml), "shop/web"), "http")[0].id
    };
    let ids = [
        id(""),
        id(", targetRef: {kind: Pod, name: a}"),
        id(", targetRef: {kind: Pod, name: b}"),
        id(", targetRef: {kind: Pod, name: a, uid: u-1}"),
        id(", targetRef: {kind: Pod, name: a, uid: u-2}"),
    ];
    for (index, one) in ids.iter().enumerate() {
        assert!(!ids[..index].contains(one), "{ids:?}");
    }
    assert_eq!(ids[1], id(", targetRef: {kind: Pod, name: a, namespace: shop}"));
}

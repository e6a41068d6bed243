//! How Services behave, row by row of docs/services.md: objects in, the published Service out.

mod common;

use std::fmt::Write as _;

use common::{
    HTTP, HTTP_8080, addresses, deletes, endpoints, find, manifest, registry, service, shown, slice, upserts, web,
};
use wasmesh_core::{
    candidates::Viewpoint,
    endpoint::Conditions,
    name::ServiceName,
    service::{Affinity, AppProtocol, Family, InternalTraffic, ServiceKind, Transport},
};

#[test]
fn the_tutorial_is_understood_whole() {
    let registry = registry(&manifest("tutorial.yaml"));
    assert_eq!(shown(registry.problems()), Vec::<String>::new());
    let snapshot = registry.snapshot();
    let mut names: Vec<_> = snapshot.iter().map(|(name, _)| name.name().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["clusterip-service", "google-service", "nginx-headless", "nodeport-service", "podinfo"]);
    let podinfo = service(&registry, "default/podinfo");
    assert_eq!(addresses(&podinfo, ""), ["127.0.1.16:9898", "127.0.2.15:9898", "127.0.2.16:9898"]);
    let nginx = service(&registry, "default/clusterip-service");
    let places: Vec<_> = endpoints(&nginx, "http").iter().map(|e| (e.node.clone(), e.zone.clone())).collect();
    assert_eq!(places, [("worker-2".into(), "zone-b".into()), ("worker-1".into(), "zone-a".into())]);
}

#[test]
fn the_odd_corners_are_published() {
    let registry = registry(&manifest("behaviours.yaml"));
    let cart = service(&registry, "shop/cart");
    assert_eq!(cart.spec.value.affinity, Affinity::ClientIp { timeout_seconds: 3 });
    let zones: Vec<_> = endpoints(&cart, "http").iter().map(|e| e.hints.zones.join(",")).collect();
    assert_eq!(zones, ["zone-a", "zone-b", "zone-b"]);
    assert!(service(&registry, "shop/nobody-home").endpoints.is_empty());
    assert_eq!(
        shown(registry.problems()),
        [
            "EndpointSlice shop/mixed-new: ports[2].port: is missing or 0, so nothing could be dialled; this port is left out"
        ]
    );
}

#[test]
fn row_02_slices_are_matched_by_port_name_and_may_differ() {
    let mixed = service(&registry(&manifest("behaviours.yaml")), "shop/mixed");
    let http = ["127.0.3.1:18081", "127.0.3.1:18082", "127.0.3.2:18081", "127.0.3.3:18081", "127.0.3.4:18082"];
    assert_eq!(addresses(&mixed, "http"), http);
    let grpc = ["127.0.3.1:15051", "127.0.3.1:15052", "127.0.3.2:15051", "127.0.3.3:15051", "127.0.3.4:15052"];
    assert_eq!(addresses(&mixed, "grpc"), grpc);
}

#[test]
fn row_02_the_target_port_is_never_used() {
    let yaml = web("{name: http, port: 80, targetPort: 8080}", "")
        + &slice("a", "{name: other, port: 8080}", "{addresses: [10.0.0.1]}");
    let web = service(&registry(&yaml), "shop/web");
    assert!(web.endpoints.is_empty());
}

#[test]
fn row_03_slice_ports_without_name_or_number_are_left_out() {
    let yaml = web(HTTP, "")
        + &slice(
            "a",
            "{port: 1}, {name: http}, {name: http, port: 0}, {name: http, port: 70000}, {name: http, port: -1}, \
             {name: http, port: 8080, protocol: ICMP}, {name: http, port: 8080}",
            "{addresses: [10.0.0.1]}",
        )
        + &slice("b", "", "{addresses: [10.0.0.2]}");
    let registry = registry(&yaml);
    assert_eq!(addresses(&service(&registry, "shop/web"), "http"), ["10.0.0.1:8080"]);
    assert_eq!(
        shown(registry.problems()),
        [
            "EndpointSlice shop/a: ports[0].name: is missing: write \"\" for the unnamed port of a Service; this port is left out",
            "EndpointSlice shop/a: ports[1].port: is missing or 0, so nothing could be dialled; this port is left out",
            "EndpointSlice shop/a: ports[2].port: is missing or 0, so nothing could be dialled; this port is left out",
            "EndpointSlice shop/a: ports[3].port: 70000 is not a port number: use 1 to 65535; this port is left out",
            "EndpointSlice shop/a: ports[4].port: -1 is not a port number: use 1 to 65535; this port is left out",
            "EndpointSlice shop/a: ports[5].protocol: \"ICMP\" is unknown: write TCP, UDP or SCTP; this port is left out",
        ]
    );
}

#[test]
fn row_05_one_number_for_tcp_and_udp_is_two_ports() {
    let yaml = web("{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}", "")
        + &slice(
            "a",
            "{name: dns, port: 5353, protocol: UDP}, {name: dns-tcp, port: 5354, protocol: TCP}",
            "{addresses: [10.0.0.1]}",
        );
    let web = service(&registry(&yaml), "shop/web");
    let ports: Vec<_> = web.spec.value.ports.iter().map(|port| (port.port, port.transport)).collect();
    assert_eq!(ports, [(53, Transport::Udp), (53, Transport::Tcp)]);
    assert_eq!(addresses(&web, "dns"), ["10.0.0.1:5353"]);
    assert_eq!(addresses(&web, "dns-tcp"), ["10.0.0.1:5354"]);
}

#[test]
fn row_05_a_slice_port_of_the_other_protocol_does_not_match() {
    let yaml = web(HTTP, "") + &slice("a", "{name: http, port: 1, protocol: UDP}", "{addresses: [10.0.0.1]}");
    assert!(service(&registry(&yaml), "shop/web").endpoints.is_empty());
}

#[test]
fn row_06_app_protocol_and_port_names_set_the_protocol() {
    let check = |field: &str, expected: AppProtocol| {
        let yaml = web(&format!("{{port: 80, {field}}}"), "");
        let found = service(&registry(&yaml), "shop/web").spec.value.ports[0].protocol;
        assert_eq!(found, expected, "{field}");
    };
    check("appProtocol: kubernetes.io/h2c", AppProtocol::Http2);
    check("appProtocol: kubernetes.io/ws", AppProtocol::Http1);
    check("appProtocol: kubernetes.io/wss", AppProtocol::Tls);
    check("appProtocol: http", AppProtocol::Http1);
    check("appProtocol: https", AppProtocol::Tls);
    check("appProtocol: grpc", AppProtocol::Grpc);
    check("appProtocol: tcp", AppProtocol::Tcp);
    check("appProtocol: h2c", AppProtocol::Http2);
    check("appProtocol: example.com/own, name: http", AppProtocol::Detect);
    check("appProtocol: tcp, name: http-web", AppProtocol::Tcp);
    check("name: http", AppProtocol::Http1);
    check("name: http-web", AppProtocol::Http1);
    check("name: http2-web", AppProtocol::Http2);
    check("name: grpc-api", AppProtocol::Grpc);
    check("name: tcp-db", AppProtocol::Tcp);
    check("name: tls-db", AppProtocol::Tls);
    check("name: https", AppProtocol::Tls);
    check("name: web", AppProtocol::Detect);
    check("protocol: TCP", AppProtocol::Detect);
}

#[test]
fn row_09_services_without_ports_are_accepted() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: shop}
spec: {clusterIP: None, selector: {app: peers}}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: example.com}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: peers-1, namespace: shop, labels: {kubernetes.io/service-name: peers}}
addressType: IPv4
ports: null
endpoints: [{addresses: [10.0.0.1], hostname: peer-0}]
";
    let registry = registry(yaml);
    assert_eq!(shown(registry.problems()), Vec::<String>::new());
    let peers = service(&registry, "shop/peers");
    assert_eq!(peers.spec.value.kind, ServiceKind::Headless);
    // Names need addresses only.
    assert_eq!(addresses(&peers, ""), ["10.0.0.1:0"]);
    assert!(service(&registry, "shop/outside").endpoints.is_empty());
}

#[test]
fn row_10_headless_services_keep_their_endpoints_and_names() {
    let headless = service(&registry(&manifest("tutorial.yaml")), "default/nginx-headless");
    assert_eq!(headless.spec.value.kind, ServiceKind::Headless);
    let hosts: Vec<_> = endpoints(&headless, "http").iter().map(|e| e.hostname.clone()).collect();
    assert_eq!(hosts, ["web-1", "web-0"]);
}

#[test]
fn row_13_ready_is_what_the_slice_says() {
    let yaml = web(HTTP, ", publishNotReadyAddresses: true")
        + &slice("a", HTTP_8080, "{addresses: [10.0.0.1], conditions: {ready: true, serving: false}}");
    let web = service(&registry(&yaml), "shop/web");
    assert!(endpoints(&web, "http")[0].conditions.ready);
    assert!(web.reach_from(&Viewpoint::default()).is_reachable(0, Family::V4));
}

#[test]
fn row_16_a_service_may_turn_into_an_alias_and_back() {
    let as_vip = web(HTTP, "") + &slice("a", HTTP_8080, "{addresses: [10.0.0.1]}");
    let alias = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: ExternalName, externalName: example.com, clusterIP: '', ports: [{name: http, port: 80}]}
";
    let mut registry = registry(&as_vip);
    registry.apply(upserts(alias));
    let web = service(&registry, "shop/web");
    assert_eq!(web.spec.value.kind, ServiceKind::ExternalName { target: "example.com".into() });
    assert_eq!((web.spec.value.vips().len(), web.endpoints.len()), (0, 0));

    registry.apply(upserts(&as_vip));
    let web = service(&registry, "shop/web");
    assert_eq!((web.spec.value.vips().len(), web.endpoints.len()), (1, 1));
}

#[test]
fn row_17_only_the_label_links_slices() {
    let named_alike = slice("web", HTTP_8080, "{addresses: [10.0.0.1]}").replace("kubernetes.io/service-name", "app");
    let elsewhere = slice("web-2", HTTP_8080, "{addresses: [10.0.0.2]}").replace("namespace: shop", "namespace: other");
    let manual = slice("by-hand", HTTP_8080, "{addresses: [10.0.0.3]}");
    let mut registry = registry(&(web(HTTP, "") + &named_alike + &elsewhere + &manual));
    assert_eq!(addresses(&service(&registry, "shop/web"), "http"), ["10.0.0.3:8080"]);

    // A slice follows its label.
    registry.apply(upserts(&manual.replace("service-name: web", "service-name: another")));
    assert!(service(&registry, "shop/web").endpoints.is_empty());
}

#[test]
fn row_18_legacy_endpoints_are_not_read() {
    let yaml = web("{name: http, port: 80}", "")
        + "---\napiVersion: v1\nkind: Endpoints\nmetadata: {name: web, namespace: shop}\n"
        + "subsets: [{addresses: [{ip: 10.0.0.9}], ports: [{name: http, port: 8080}]}]\n";
    let registry = registry(&yaml);
    let [name] = &registry.snapshot().iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()[..] else {
        panic!("one Service expected");
    };
    assert!(service(&registry, name.as_str()).endpoints.is_empty(), "upstream mirrors them into slices");
    assert_eq!(shown(registry.problems()), Vec::<String>::new());
}

#[test]
fn row_19_families_are_independent() {
    let v6 = |address_type: &str, address: &str| {
        slice("six", HTTP_8080, &format!("{{addresses: [\"{address}\"]}}")).replace("IPv4", address_type)
    };
    let dual = web(HTTP, "").replace("clusterIPs: [10.96.0.1]", "clusterIPs: ['fd00::1', 10.96.0.1]");
    let v4 = slice("four", HTTP_8080, "{addresses: [10.0.0.1]}");
    let mut registry = registry(&(dual + &v4));
    let web = service(&registry, "shop/web");
    assert_eq!(web.spec.value.vips(), ["fd00::1".parse().unwrap(), "10.96.0.1".parse::<std::net::IpAddr>().unwrap()]);
    let reach = web.reach_from(&Viewpoint::default());
    assert!(reach.is_reachable(0, Family::V4) && !reach.is_reachable(0, Family::V6));

    registry.apply(upserts(&v6("IPv6", "fd00:1::1")));
    let reach = service(&registry, "shop/web").reach_from(&Viewpoint::default());
    assert!(reach.is_reachable(0, Family::V4) && reach.is_reachable(0, Family::V6));

    registry.apply(upserts(&v6("FQDN", "pod.example.com")));
    assert_eq!(service(&registry, "shop/web").endpoints.len(), 1);
    assert_eq!(shown(registry.problems()), Vec::<String>::new());

    registry.apply(upserts(&v6("IPv6", "10.0.0.2")));
    assert_eq!(
        shown(registry.problems()),
        [
            "EndpointSlice shop/six: endpoints[0].addresses: 10.0.0.2 is not an IPv6 address, as the addressType of the slice says; this endpoint is left out"
        ]
    );
}

#[test]
fn row_19_cluster_ip_serves_where_cluster_ips_are_missing() {
    let yaml = web(HTTP, "").replace(", clusterIPs: [10.96.0.1]", "");
    assert_eq!(service(&registry(&yaml), "shop/web").spec.value.vips().len(), 1);
}

#[test]
fn row_20_affinity_is_read() {
    let check = |more: &str, expected: Affinity| {
        assert_eq!(service(&registry(&web(HTTP, more)), "shop/web").spec.value.affinity, expected, "{more}");
    };
    check("", Affinity::None);
    check(", sessionAffinity: None", Affinity::None);
    check(", sessionAffinity: ClientIP", Affinity::ClientIp { timeout_seconds: 10_800 });
    check(
        ", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}",
        Affinity::ClientIp { timeout_seconds: 5 },
    );
    check(
        ", sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}",
        Affinity::ClientIp { timeout_seconds: 10_800 },
    );
}

#[test]
fn row_21_traffic_policy_is_read() {
    let yaml =
        web(HTTP, ", internalTrafficPolicy: Local") + &slice("a", HTTP_8080, "{addresses: [10.0.0.1], nodeName: n1}");
    let web = service(&registry(&yaml), "shop/web");
    assert_eq!(web.spec.value.internal_traffic, InternalTraffic::Local);
    let here = Viewpoint { node: "n1".into(), zone: String::new() };
    assert!(web.reach_from(&here).is_reachable(0, Family::V4));
    assert!(!web.reach_from(&Viewpoint::default()).is_reachable(0, Family::V4));
}

#[test]
fn row_22_external_traffic_policy_means_nothing_inside() {
    let yaml = web(HTTP, ", type: LoadBalancer, externalTrafficPolicy: Local")
        + &slice("a", HTTP_8080, "{addresses: [10.0.0.1], nodeName: n1}");
    let web = service(&registry(&yaml), "shop/web");
    let elsewhere = Viewpoint { node: "n2".into(), zone: String::new() };
    assert!(web.reach_from(&elsewhere).is_reachable(0, Family::V4));
}

#[test]
fn row_23_hints_are_read() {
    let hints = "hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: n1}]}";
    let yaml = web(HTTP, "") + &slice("a", HTTP_8080, &format!("{{addresses: [10.0.0.1], {hints}}}"));
    let web = service(&registry(&yaml), "shop/web");
    let found = &endpoints(&web, "http")[0].hints;
    assert_eq!((found.zones.join(","), found.nodes.join(",")), ("a,b".into(), "n1".into()));
}

#[test]
fn row_24_absent_conditions_have_defaults() {
    let check = |field: &str, ready: bool, serving: bool, terminating: bool| {
        let yaml = web(HTTP, "") + &slice("a", HTTP_8080, &format!("{{addresses: [10.0.0.1]{field}}}"));
        let web = service(&registry(&yaml), "shop/web");
        assert_eq!(endpoints(&web, "http")[0].conditions, Conditions { ready, serving, terminating }, "{field}");
    };
    check("", true, true, false);
    check(", conditions: null", true, true, false);
    check(", conditions: {}", true, true, false);
    check(", conditions: {ready: null, serving: null, terminating: null}", true, true, false);
    check(", conditions: {ready: false}", false, true, false);
    check(", conditions: {ready: false, terminating: true}", false, true, true);
    check(", conditions: {ready: false, serving: false}", false, false, false);
}

#[test]
fn row_26_an_address_in_several_slices_is_one_endpoint() {
    let check = |first: &str, second: &str, expected: Conditions| {
        let one = slice("a", HTTP_8080, &format!("{{addresses: [10.0.0.1], conditions: {first}}}"));
        let other = slice("b", HTTP_8080, &format!("{{addresses: [10.0.0.1], conditions: {second}}}"));
        for slices in [one.clone() + &other, other + &one] {
            let web = service(&registry(&(web(HTTP, "") + &slices)), "shop/web");
            let found: Vec<_> = endpoints(&web, "http").iter().map(|endpoint| endpoint.conditions).collect();
            assert_eq!(found, [expected], "{first} {second}");
        }
    };
    let ready = Conditions { ready: true, serving: true, terminating: false };
    let leaving = Conditions { ready: false, serving: true, terminating: true };
    check("{ready: false}", "{ready: true}", ready);
    check("{ready: true}", "{ready: false}", ready);
    check("{ready: true}", "{ready: true}", ready);
    check("{ready: false, serving: true, terminating: true}", "{ready: false, serving: false}", leaving);
}

#[test]
fn row_26_a_move_between_slices_keeps_the_endpoint() {
    let pod = "{addresses: [10.0.0.1], targetRef: {kind: Pod, name: web-1, namespace: shop, uid: u-1}}";
    let old = slice("old", HTTP_8080, pod);
    let new = slice("new", HTTP_8080, pod);
    let mut registry = registry(&(web(HTTP, "") + &old));
    let before = service(&registry, "shop/web").endpoints.version();
    assert!(registry.apply(upserts(&new)).is_empty());
    assert!(registry.apply(deletes(&old)).is_empty());
    assert_eq!(service(&registry, "shop/web").endpoints.version(), before);
}

#[test]
fn row_27_all_slices_are_merged() {
    let mut yaml = web(HTTP, "");
    for number in 0..3u8 {
        let mut list = String::new();
        for host in 0..if number == 2 { 50 } else { 100 } {
            write!(list, "{{addresses: [10.0.{number}.{host}]}}, ").unwrap();
        }
        yaml += &slice(&format!("s{number}"), HTTP_8080, &list);
    }
    assert_eq!(service(&registry(&yaml), "shop/web").endpoints.len(), 250);
}

#[test]
fn row_28_a_deleted_service_is_gone() {
    let mut registry = registry(&(web(HTTP, "") + &slice("a", HTTP_8080, "{addresses: [10.0.0.1]}")));
    let changed = registry.apply(deletes(&web(HTTP, "")));
    assert_eq!(changed.len(), 1);
    assert!(registry.snapshot().is_empty());
}

#[test]
fn row_29_cluster_ips_change_hands_in_one_step() {
    let first = web(HTTP, "");
    let second = first.replace("name: web,", "name: heir,").replace("10.96.0.1", "10.96.0.2");
    let mut registry = registry(&(first.clone() + &second));
    let swapped = first.replace("10.96.0.1", "10.96.0.2") + &second.replace("10.96.0.2", "10.96.0.1");
    assert_eq!(registry.apply(upserts(&swapped)).len(), 2);
    assert_eq!(service(&registry, "shop/heir").spec.value.vips()[0].to_string(), "10.96.0.1");
    assert_eq!(service(&registry, "shop/web").spec.value.vips()[0].to_string(), "10.96.0.2");
    assert_eq!(shown(registry.problems()), Vec::<String>::new());
}

#[test]
fn row_29_a_contested_cluster_ip_belongs_to_the_oldest() {
    let young = web(HTTP, "").replace("name: web,", "name: a-young, creationTimestamp: '2026-02-01T00:00:00Z',");
    let old = web(HTTP, "").replace("name: web,", "name: old, creationTimestamp: '2026-01-01T00:00:00Z',");
    let undated = web(HTTP, "").replace("name: web,", "name: a-undated,");
    let all = young.clone() + &old + &undated;
    let mut registry = registry(&all);
    let has_vip = |registry: &_, name| service(registry, name).spec.value.vips().len() == 1;
    assert!(has_vip(&registry, "shop/old") && !has_vip(&registry, "shop/a-young"));
    assert!(!has_vip(&registry, "shop/a-undated"));
    let problems = shown(registry.problems());
    assert_eq!(problems.len(), 2);
    assert!(
        problems[0].starts_with("Service shop/a-undated: spec.clusterIPs: 10.96.0.1 also belongs to Service shop/old")
    );

    let changed = registry.apply(deletes(&old));
    assert_eq!(changed.iter().map(ServiceName::name).collect::<Vec<_>>(), ["a-young", "old"]);
    assert!(has_vip(&registry, "shop/a-young") && !has_vip(&registry, "shop/a-undated"));

    registry.apply(deletes(&young));
    assert!(has_vip(&registry, "shop/a-undated"));
    assert_eq!(shown(registry.problems()), Vec::<String>::new());
}

#[test]
fn row_32_node_addresses_are_endpoints_like_others() {
    let yaml = web(HTTP, "")
        + &slice(
            "a",
            HTTP_8080,
            "{addresses: [192.168.1.7], nodeName: n1, targetRef: {kind: Pod, name: on-host, namespace: shop}}",
        )
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: on-host, namespace: shop}\nspec: {hostNetwork: true}\n";
    assert_eq!(addresses(&service(&registry(&yaml), "shop/web"), "http"), ["192.168.1.7:8080"]);
}

#[test]
fn row_36_a_foreign_proxy_name_hides_the_service() {
    assert!(find(&registry(&manifest("behaviours.yaml")).snapshot(), "shop/not-ours").is_none());

    let ours = web(HTTP, "");
    let foreign =
        ours.replace("namespace: shop", "namespace: shop, labels: {service.kubernetes.io/service-proxy-name: x}");
    let mut registry = registry(&ours);
    assert_eq!(registry.apply(upserts(&foreign)).len(), 1);
    assert!(registry.snapshot().is_empty());
    assert_eq!(registry.apply(upserts(&ours)).len(), 1);
    assert!(find(&registry.snapshot(), "shop/web").is_some());
}

#[test]
fn row_37_the_headless_label_takes_the_addresses_away() {
    let ours = web(HTTP, "");
    let labelled = ours.replace("namespace: shop", "namespace: shop, labels: {service.kubernetes.io/headless: ''}");
    let mut registry = registry(&ours);
    registry.apply(upserts(&labelled));
    assert!(service(&registry, "shop/web").spec.value.vips().is_empty());
    registry.apply(upserts(&ours));
    assert_eq!(service(&registry, "shop/web").spec.value.vips().len(), 1);
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_an_ipv4_address() {
    let slices = slice("a", HTTP_8080, "{addresses: [\"::ffff:10.0.0.1\"]}")
        + &slice("b", HTTP_8080, "{addresses: [10.0.0.1]}")
        + &slice("c", HTTP_8080, "{addresses: [\"::ffff:10.0.0.2\"]}").replace("IPv4", "IPv6");
    let dressed = web(HTTP, "").replace("10.96.0.1", "\"::ffff:10.96.0.1\"");
    let registry = registry(&(dressed + &slices));
    let web = service(&registry, "shop/web");
    assert_eq!(web.spec.value.vips(), ["10.96.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(addresses(&web, "http"), ["10.0.0.1:8080"], "and one endpoint, however it is written");
    assert_eq!(
        shown(registry.problems()),
        [
            "EndpointSlice shop/c: endpoints[0].addresses: 10.0.0.2 is not an IPv6 address, as the addressType of the slice says; this endpoint is left out"
        ]
    );
}

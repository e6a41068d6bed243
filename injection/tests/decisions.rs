//! Which pods are meshed, which are left alone, which are refused, and what is said about it.
#![allow(clippy::needless_pass_by_value, reason = "callers make what they pass in place")]
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod common;

use common::{arguments, injected, opted_in, pod_marked, pod_with, settings, sidecar, silent};
use serde_json::{Value, json};
use wasmesh_injection::{Decision, Facts, PodSecurity, Settings, inject};

fn word(decision: &Decision) -> String {
    match decision {
        Decision::Inject(injection) => format!("inject {}", injection.warnings.join("; ")),
        Decision::Leave(leave, warnings) => format!("leave {}: {leave} {}", leave.code(), warnings.join("; ")),
        Decision::Refuse(refuse) => format!("refuse {}: {refuse}", refuse.code()),
    }
}

#[track_caller]
fn check(pod: &Value, facts: &Facts, expected: &str) {
    let word = word(&inject(pod, facts, &settings()));
    assert!(word.starts_with(expected) || (expected.contains('…') && holds(&word, expected)), "{word:?}: {expected:?}");
}

/// Both sides of an ellipsis.
fn holds(word: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    word.starts_with(parts.next().unwrap()) && parts.all(|part| word.contains(part))
}

fn label(value: &str) -> Value {
    pod_marked(json!({ "labels": { "wasmesh.io/inject": value } }))
}

#[test]
fn the_label_of_the_pod_beats_that_of_the_namespace() {
    check(&pod_with(json!({})), &opted_in(), "inject ");
    check(&pod_with(json!({})), &silent(), "leave not-wanted");
    check(&label("enabled"), &silent(), "inject ");
    check(&label("disabled"), &opted_in(), "leave not-wanted");
    check(&label("yes"), &opted_in(), "inject …\"yes\" means nothing");
    check(&label("yes"), &silent(), "leave not-wanted…\"yes\" means nothing");
}

#[test]
fn pods_that_cannot_be_meshed_are_left_alone() {
    let leave = |spec, expected: &str| check(&pod_with(spec), &opted_in(), expected);
    leave(json!({ "hostNetwork": true }), "leave host-network");
    leave(json!({ "os": { "name": "windows" } }), "leave windows");
    leave(json!({ "nodeSelector": { "kubernetes.io/os": "windows" } }), "leave windows");
    leave(json!({ "containers": [] }), "leave no-containers");
    leave(
        json!({ "containers": [{ "name": "a", "ports": [{ "containerPort": 19001 }] }] }),
        "leave port-taken…\"a\"…19001",
    );
    check(
        &pod_marked(json!({ "annotations": { "kubernetes.io/config.mirror": "x" } })),
        &opted_in(),
        "leave static-pod",
    );
    leave(json!({ "hostNetwork": false, "os": { "name": "linux" } }), "inject ");
    let udp = json!({ "name": "a", "ports": [{ "containerPort": 19001, "protocol": "UDP" }] });
    leave(json!({ "containers": [udp] }), "inject ");
}

#[test]
fn what_is_no_pod_is_left_alone() {
    for pod in [
        json!(null),
        json!([]),
        json!("pod"),
        json!({}),
        json!({ "spec": null }),
        json!({ "spec": { "containers": null } }),
    ] {
        check(&pod, &opted_in(), "leave ");
    }
    for (spec, at) in [(json!({ "initContainers": {} }), "initContainers"), (json!({ "volumes": "x" }), "volumes")] {
        check(&pod_with(spec), &opted_in(), &format!("leave malformed…{at}"));
    }
    check(&pod_marked(json!({ "annotations": [] })), &opted_in(), "leave malformed");
    check(&pod_with(json!({ "initContainers": null, "volumes": null })), &opted_in(), "inject ");
}

#[test]
fn two_meshes_do_not_share_a_pod() {
    for (name, mesh) in [("istio-proxy", "Istio"), ("linkerd-proxy", "Linkerd"), ("kuma-sidecar", "Kuma")] {
        let expected = format!("leave other-mesh…{mesh}");
        check(&pod_with(json!({ "containers": [{ "name": "app" }, { "name": name }] })), &opted_in(), &expected);
        check(&pod_with(json!({ "initContainers": [{ "name": name }] })), &opted_in(), &expected);
    }
    let marked = pod_marked(json!({ "annotations": { "ambient.istio.io/redirection": "enabled" } }));
    check(&marked, &opted_in(), "leave other-mesh…ambient");
}

#[test]
fn the_user_of_the_proxy_is_the_proxys_alone() {
    let as_proxy = json!({ "runAsUser": 19000 });
    check(&pod_with(json!({ "securityContext": as_proxy })), &opted_in(), "refuse proxy-user…\"app\"…disabled");
    let own = json!([{ "name": "a" }, { "name": "b", "securityContext": as_proxy }]);
    check(&pod_with(json!({ "containers": own })), &opted_in(), "refuse proxy-user…\"b\"");
    check(&pod_with(json!({ "initContainers": own })), &opted_in(), "refuse proxy-user…\"b\"");
    let other = json!([{ "name": "a", "securityContext": { "runAsUser": 1000 } }]);
    check(&pod_with(json!({ "securityContext": as_proxy, "containers": other })), &opted_in(), "inject ");
    check(&pod_with(json!({ "securityContext": as_proxy })), &silent(), "leave not-wanted");
}

#[test]
fn names_of_the_mesh_are_not_taken_over() {
    for name in ["wasmesh-proxy", "wasmesh-capture"] {
        check(&pod_with(json!({ "containers": [{ "name": name }] })), &opted_in(), "refuse name-taken…container");
    }
    check(&pod_with(json!({ "volumes": [{ "name": "wasmesh-token" }] })), &opted_in(), "refuse name-taken…volume");
    let only_marked = pod_marked(json!({ "annotations": { "wasmesh.io/injected": "0.0.9" } }));
    check(&only_marked, &opted_in(), "inject ");
    assert_eq!(injected(&only_marked).pod["metadata"]["annotations"]["wasmesh.io/injected"], "0.1.0");
}

#[test]
fn where_net_admin_is_forbidden_there_is_no_capture_and_a_warning() {
    for security in [PodSecurity::Forbids("baseline".into()), PodSecurity::Unknown] {
        let facts = Facts { opted_in: true, pod_security: security };
        check(&pod_with(json!({})), &facts, "inject …http_proxy=http://127.0.0.1:19002");
        let Decision::Inject(injection) = inject(&pod_with(json!({})), &facts, &settings()) else { panic!() };
        let init = injection.pod["spec"]["initContainers"].as_array().unwrap();
        assert_eq!(init.len(), 1, "{init:?}");
        assert!(!injection.pod.to_string().contains("NET_ADMIN"));
        assert!(!injection.pod.to_string().contains("outbound-listen"));
    }
}

#[test]
fn without_service_ranges_there_is_no_capture_either() {
    let settings = Settings { service_cidrs: Vec::new(), ..settings() };
    let nothing = inject(&pod_with(json!({})), &opted_in(), &settings);
    assert!(holds(&word(&nothing), "inject …service ranges are not known…--service-cidr"), "{nothing:?}");
    let wished = pod_marked(json!({ "annotations": { "wasmesh.io/include-outbound-cidrs": "192.0.2.0/24" } }));
    let Decision::Inject(injection) = inject(&wished, &opted_in(), &settings) else { panic!() };
    assert_eq!(injection.warnings, [""; 0]);
    assert!(arguments(&injection.pod, "wasmesh-capture").contains(&"--include-outbound-cidrs=192.0.2.0/24".to_owned()));
}

#[test]
fn wishes_reach_the_rules_and_bad_ones_cost_only_themselves() {
    let pod = pod_marked(json!({ "annotations": {
        "wasmesh.io/exclude-outbound-ports": "5432, 0,x,,6379",
        "wasmesh.io/exclude-outbound-cidrs": "10.96.0.10,10.0.0.0/40",
        "wasmesh.io/include-outbound-cidrs": " ",
    } }));
    let injection = injected(&pod);
    let arguments = arguments(&injection.pod, "wasmesh-capture");
    assert!(arguments.contains(&"--exclude-outbound-ports=5432,6379".to_owned()), "{arguments:?}");
    assert!(arguments.contains(&"--exclude-outbound-cidrs=10.96.0.10".to_owned()), "{arguments:?}");
    assert!(!arguments.iter().any(|argument| argument.starts_with("--include")), "{arguments:?}");
    assert_eq!(injection.warnings.len(), 3, "{:?}", injection.warnings);
}

#[test]
fn dns_is_captured_where_the_pod_wishes_it() {
    let dns = |value: &str| {
        let pod = pod_marked(json!({ "annotations": { "wasmesh.io/capture-dns": value } }));
        let injection = injected(&pod);
        let has = |container, what: &str| arguments(&injection.pod, container).iter().any(|it| it.starts_with(what));
        let both = [has("wasmesh-proxy", "--dns-listen="), has("wasmesh-capture", "--dns")];
        (both, injection.warnings.len())
    };
    assert_eq!(dns("enabled"), ([true, true], 0));
    assert_eq!(dns("disabled"), ([false, false], 0));
    assert_eq!(dns("yes"), ([false, false], 1));
}

#[test]
fn a_cluster_without_ipv6_gets_no_listener_for_it() {
    let settings = Settings { service_cidrs: vec!["10.96.0.0/12".parse().unwrap()], ..settings() };
    let Decision::Inject(injection) = inject(&pod_with(json!({})), &opted_in(), &settings) else { panic!() };
    let arguments = arguments(&injection.pod, "wasmesh-proxy");
    assert!(!arguments.iter().any(|argument| argument.contains("[::1]")), "{arguments:?}");
}

#[test]
fn a_budget_of_the_whole_pod_is_left_as_it_is() {
    let pod = injected(&pod_with(json!({ "resources": { "limits": { "memory": "64Mi" } } }))).pod;
    for name in ["wasmesh-proxy", "wasmesh-capture"] {
        assert_eq!(sidecar(&pod, name).get("resources"), None);
    }
    let mut wished = pod_with(json!({ "resources": { "limits": { "memory": "64Mi" } } }));
    wished["metadata"]["annotations"] = json!({ "wasmesh.io/proxy-cpu-limit": "1" });
    check(&wished, &opted_in(), "inject …wasmesh.io/proxy-cpu-limit: it is ignored");
    assert_eq!(sidecar(&injected(&wished).pod, "wasmesh-proxy").get("resources"), None);
}

/// A container with these limits and requests.
fn container(name: &str, limits: Value, requests: Value) -> Value {
    json!({ "name": name, "resources": { "limits": limits, "requests": requests } })
}

#[track_caller]
fn resources(pod: &Value, sidecar_name: &str, requests: Value, limits: Value) {
    let expected = json!({ "requests": requests, "limits": limits });
    assert_eq!(sidecar(pod, sidecar_name)["resources"], expected, "{sidecar_name}");
}

#[test]
fn a_guaranteed_pod_stays_guaranteed() {
    let amounts = json!({ "cpu": 2, "memory": "1Gi" });
    let app = container("app", amounts.clone(), amounts.clone());
    // What is not requested is what is at most used.
    let other = container("other", json!({ "cpu": "500m", "memory": "1Gi" }), json!({}));
    let setup =
        container("setup", json!({ "cpu": "8", "memory": "1Gi" }), json!({ "cpu": "8000m", "memory": "1024Mi" }));
    let pod = injected(&pod_with(json!({ "containers": [app, other], "initContainers": [setup] }))).pod;
    let proxy = json!({ "cpu": "250m", "memory": "256Mi" });
    resources(&pod, "wasmesh-proxy", proxy.clone(), proxy);
    let capture = json!({ "cpu": "50m", "memory": "64Mi" });
    resources(&pod, "wasmesh-capture", capture.clone(), capture);

    let small = json!({ "cpu": "100m", "memory": "64Mi" });
    let small = pod_with(json!({ "containers": [container("app", small.clone(), small)] }));
    let least = json!({ "cpu": "100m", "memory": "256Mi" });
    resources(&injected(&small).pod, "wasmesh-proxy", least.clone(), least);
    let large = json!({ "cpu": "60", "memory": "64Mi" });
    let large = pod_with(json!({ "containers": [container("app", large.clone(), large)] }));
    let most = json!({ "cpu": "2", "memory": "256Mi" });
    resources(&injected(&large).pod, "wasmesh-proxy", most.clone(), most);
    let mut modest = large;
    modest["metadata"]["annotations"] = json!({ "wasmesh.io/proxy-cpu-request": "200m" });
    let said = json!({ "cpu": "200m", "memory": "256Mi" });
    resources(&injected(&modest).pod, "wasmesh-proxy", said.clone(), said);
    let mut wished = small;
    wished["metadata"]["annotations"] =
        json!({ "wasmesh.io/proxy-cpu-limit": "1", "wasmesh.io/proxy-memory-limit": "64Mi" });
    let wished_for = json!({ "cpu": "1", "memory": "64Mi" });
    resources(&injected(&wished).pod, "wasmesh-proxy", wished_for.clone(), wished_for);
}

#[test]
fn any_other_pod_gets_small_promises_and_no_limit_of_cpu() {
    let amounts = || json!({ "cpu": "1", "memory": "1Gi" });
    let burstable = [
        json!([{ "name": "app" }]),
        json!([container("app", amounts(), amounts()), { "name": "other" }]),
        json!([container("app", amounts(), json!({ "cpu": "1m" }))]),
        json!([container("app", json!({ "memory": "1Gi" }), json!({ "memory": "1Gi" }))]),
        json!([container("app", json!({ "cpu": "x", "memory": "1Gi" }), json!({}))]),
        json!([container("app", json!({ "cpu": "0", "memory": "1Gi" }), json!({}))]),
        json!([{ "name": "app", "resources": "none" }]),
    ];
    for containers in burstable {
        let pod = injected(&pod_with(json!({ "containers": containers }))).pod;
        resources(&pod, "wasmesh-proxy", json!({ "cpu": "10m", "memory": "32Mi" }), json!({ "memory": "256Mi" }));
        resources(&pod, "wasmesh-capture", json!({ "cpu": "1m", "memory": "8Mi" }), json!({ "memory": "64Mi" }));
    }
}

#[test]
fn a_pod_says_what_its_sidecars_ask_for_and_nonsense_costs_only_itself() {
    let injection = injected(&pod_marked(json!({ "annotations": {
        "wasmesh.io/proxy-cpu-request": "100m",
        "wasmesh.io/proxy-cpu-limit": "much",
        "wasmesh.io/proxy-memory-request": "1Gi",
        "wasmesh.io/proxy-memory-limit": "512Mi",
        "wasmesh.io/capture-memory-limit": " 32Mi ",
    } })));
    let limits = json!({ "memory": "256Mi" });
    resources(&injection.pod, "wasmesh-proxy", json!({ "cpu": "100m", "memory": "32Mi" }), limits);
    resources(&injection.pod, "wasmesh-capture", json!({ "cpu": "1m", "memory": "8Mi" }), json!({ "memory": "32Mi" }));
    let [quantity, conflict] = &injection.warnings[..] else { panic!("{:?}", injection.warnings) };
    assert!(quantity.contains("wasmesh.io/proxy-cpu-limit: it is ignored: \"much\" is no quantity"), "{quantity}");
    assert!(conflict.contains("proxy-memory-request=1Gi is more than proxy-memory-limit=512Mi"), "{conflict}");
}

#[test]
fn what_the_installation_gives_is_for_pods_that_say_nothing() {
    let settings = Settings { resources: "proxy-cpu-limit=2,proxy-memory-limit=1Gi".parse().unwrap(), ..settings() };
    let pod = pod_marked(json!({ "annotations": { "wasmesh.io/proxy-cpu-limit": "500m" } }));
    let Decision::Inject(injection) = inject(&pod, &opted_in(), &settings) else { panic!() };
    let limits = json!({ "cpu": "500m", "memory": "1Gi" });
    resources(&injection.pod, "wasmesh-proxy", json!({ "cpu": "10m", "memory": "32Mi" }), limits);
}

#[test]
fn warnings_fit_into_what_kubernetes_shows() {
    // The API server cuts warnings at 256 characters.
    let security = PodSecurity::Forbids("restricted".into());
    let pod = pod_marked(json!({
        "labels": { "wasmesh.io/inject": "true" },
        "annotations": { "wasmesh.io/exclude-outbound-ports": "x", "wasmesh.io/exclude-outbound-cidrs": "::ffff:10.0.0.0/104", "wasmesh.io/capture-memory-request": "1111111111111111111111111111111111111m", "wasmesh.io/proxy-memory-request": "11111111111111111111", "wasmesh.io/proxy-memory-limit": "1111111111111111111" },
    }));
    let Decision::Inject(injection) = inject(&pod, &Facts { opted_in: true, pod_security: security }, &settings())
    else {
        panic!()
    };
    assert_eq!(injection.warnings.len(), 6);
    assert!(injection.warnings.iter().all(|warning| warning.len() <= 256), "{:?}", injection.warnings);
}

//! Names: what DNS says, and what the HTTP proxy takes.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};
use wasmesh_tests::until;

use super::{Run, found};
use crate::{
    backends::{TELLER, WEB},
    cluster::OUTSIDE,
    family::Family,
    manifests::{port, ready, service, slice, with},
    sidecar::HTTP_PROXY,
};

/// The answer about a name that is nobody's.
fn nothing() -> (String, BTreeSet<String>) {
    ("NXDOMAIN".to_owned(), BTreeSet::new())
}

fn headless_service(run: &Run<'_>) -> Value {
    service(&run.name, json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": [port("tcp", 80)] }))
}

pub(super) fn row_10_headless(run: &Run<'_>) {
    let [one, two, three] = run.backends();
    let not_ready = json!({ "addresses": [run.ip(three)], "conditions": { "ready": false } });
    let policy = json!({
        "apiVersion": "wasmesh.io/v1alpha1",
        "kind": "LoadBalancingPolicy",
        "metadata": { "name": run.name, "namespace": "shop" },
        "spec": { "targetRefs": [{ "group": "", "kind": "Service", "name": run.name }], "type": "RoundRobin" },
    });
    let slice = run.slice("a", &[ready(run.ip(one)), ready(run.ip(two)), not_ready]);
    let headless = [headless_service(run), slice, policy];
    run.apply(&headless);
    assert_eq!(run.dig(&run.full_name()), found([run.ip(one), run.ip(two)]));
    for pod in [one, two] {
        run.client().assert_reaches((run.ip(pod), TELLER), &[pod], "a pod that is dialled is that pod");
    }
    let refused = run.client().dial((run.ip(one), 80)).map(|(told, _)| told).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "the port of a pod is not changed");
    // What a sidecar does see, it passes through to the pod that was dialled, and counts for a Service whose policy is passed by.
    run.apply(&[run.service(json!({})), run.slice_of("a", &[three])]);
    let labels = [("service", run.name.as_str()), ("kind", "cluster-ip")];
    let counted = || run.cluster.metric(1, "wasmesh_pod_connections_total", &labels);
    let before = counted();
    run.assert_passes(1, 40.0, || {
        run.cluster.clients[1].assert_reaches((run.ip(three), TELLER), &[three], "a pod that is dialled, captured");
    });
    until("connections to the pod are counted", || counted() == before + 40.0);
    run.apply(&headless);
    let page = run.cluster.control_plane("/debug/policies").to_string();
    assert!(page.contains("HeadlessService"), "a policy for a headless Service is not refused: {page}");
}

pub(super) fn row_11_headless_by_hand(run: &Run<'_>) {
    let somewhere = run.family.outside(11);
    let mut by_hand = run.slice("by-hand", &[json!({ "addresses": [somewhere] })]);
    by_hand["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] = "somebody".into();
    run.apply(&[headless_service(run), by_hand]);
    assert_eq!(run.dig(&run.full_name()), found([somewhere]));
}

pub(super) fn row_12_hostnames(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let named = |pod, name: &str| with(ready(run.ip(pod)), "/hostname", name.into());
    run.apply(&[headless_service(run), run.slice("a", &[named(one, "db-0"), named(two, "db-1")])]);
    for (pod, name) in [(one, "db-0"), (two, "db-1")] {
        assert_eq!(run.dig(&format!("{name}.{}", run.full_name())), found([run.ip(pod)]));
    }
    assert_eq!(run.dig(&format!("db-2.{}", run.full_name())), nothing());
    assert_eq!(run.dig(&run.full_name()), found([run.ip(one), run.ip(two)]));
}

pub(super) fn row_16_external_name(run: &Run<'_>) {
    let [one, _, three] = run.backends();
    let outside = run.family.outside(16);
    let alias = || service(&run.name, json!({ "type": "ExternalName", "externalName": OUTSIDE }));
    let chain = found([format!("{OUTSIDE}."), outside.to_string()]);
    run.apply(&[alias()]);
    assert_eq!(run.dig(&run.full_name()), chain);
    run.lead(run.address(), three);
    assert_eq!(run.client().who(run.address()), "three", "an alias has no address of its own");
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    assert_eq!(run.dig(&run.full_name()), found([run.vip(1)]));
    run.client().assert_reaches(run.address(), &[one], "a ClusterIP now");
    run.apply(&[alias()]);
    assert_eq!(run.dig(&run.full_name()), chain);
    assert_eq!(run.client().who(run.address()), "three", "an alias again");
}

/// A Service of nginx pods, on port 80.
fn web(run: &Run<'_>) -> [Value; 2] {
    let [one, two, _] = run.backends();
    let endpoints = [one, two].map(|pod| ready(run.ip(pod)));
    [
        run.service(json!({ "ports": [port("http", 80)] })),
        slice(&run.name, "a", run.family, &[port("http", WEB)], &endpoints),
    ]
}

fn is_one_of_them(answer: &str) -> bool {
    answer.starts_with("one ") || answer.starts_with("two ")
}

fn forms(name: &str) -> [String; 6] {
    let shouted = name.to_uppercase();
    [
        name.to_owned(),
        format!("{name}.shop"),
        format!("{name}.shop.svc"),
        format!("{name}.shop.svc.cluster.local"),
        format!("{name}.shop.svc.cluster.local."),
        format!("{shouted}.Shop.SVC.cluster.LOCAL"),
    ]
}

pub(super) fn row_33_by_dns(run: &Run<'_>) {
    run.apply(&web(run));
    for form in forms(&run.name) {
        for url in [format!("http://{form}/"), format!("http://{form}:80/")] {
            let answer = run.client().curl(&[run.family.ip(), &url]);
            assert!(is_one_of_them(&answer), "{url}: {answer}");
        }
    }
    // Only what is under the cluster domain is the mesh's: this is somebody's domain.
    let before = run.cluster.asked().len();
    assert_eq!(run.dig(&format!("{}.shop.svc.", run.name)), nothing());
    assert!(run.cluster.asked().len() > before, "svc. is not the mesh's to answer for");
}

pub(super) fn row_33_by_proxy(run: &Run<'_>) {
    run.apply(&web(run));
    for form in forms(&run.name) {
        for url in [format!("http://{form}/"), format!("http://{form}:80/")] {
            let answer = run.client().curl(&["--proxy", HTTP_PROXY, &url]);
            assert!(is_one_of_them(&answer), "{url}: {answer}");
        }
    }
}

pub(super) fn row_34_srv_and_ptr(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let client = run.client();
    let db = format!("{}-db", run.name);
    let named = |pod, name: &str| with(ready(run.ip(pod)), "/hostname", name.into());
    run.apply(&[
        run.service(json!({})),
        run.slice_of("a", &[one]),
        service(&db, json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": [port("a", 1), port("b", 2)] })),
        slice(&db, "a", run.family, &[port("a", 11), port("b", 12)], &[named(one, "db-0"), named(two, "db-1")]),
    ]);
    let full = |name: &str| format!("{name}.shop.svc.cluster.local");
    let own = found([format!("0 100 80 {}.", run.full_name())]);
    assert_eq!(client.dig(&["SRV", &format!("_tcp._tcp.{}", run.full_name())]), own);
    for (name, port) in [("a", 11), ("b", 12)] {
        let records = ["db-0", "db-1"].map(|pod| format!("0 50 {port} {pod}.{}.", full(&db)));
        assert_eq!(client.dig(&["SRV", &format!("_{name}._tcp.{}", full(&db))]), found(records));
    }
    let reverse = |ip: IpAddr| client.dig(&["-x", &ip.to_string()]);
    assert_eq!(reverse(run.vip(1)), found([format!("{}.", run.full_name())]));
    assert_eq!(reverse(run.ip(two)), found([format!("db-1.{}.", full(&db))]));
    // Anything else is the cluster's server's.
    let before = run.cluster.asked().len();
    assert_eq!(reverse(run.family.outside(34)), nothing());
    let asked = run.cluster.asked();
    let suffix = if run.family == Family::V4 { "in-addr.arpa." } else { "ip6.arpa." };
    assert!(asked[before..].iter().any(|name| name.ends_with(suffix)), "{:?}", &asked[before..]);
}

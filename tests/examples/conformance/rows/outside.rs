//! What the mesh leaves to others.

use serde_json::json;

use super::Run;
use crate::{
    backends::WEB,
    cluster::{BALANCER, INGRESS},
    manifests::{labelled, port, ready, slice},
    node::Transport,
};

pub(super) fn row_14_node_port(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let mut declared = port("tcp", 80);
    declared["nodePort"] = 30_014.into();
    run.apply(&[run.service(json!({ "type": "NodePort", "ports": [declared] })), run.slice_of("a", &[one])]);
    for node in &run.cluster.nodes {
        let address = (node.ip(run.family), 30_014);
        run.lead(address, two);
        for (at, client) in run.cluster.clients.iter().enumerate() {
            // Only the second one has it captured.
            run.assert_passes(at, at as f64, || {
                let told = client.told(address);
                // kube-proxy's choice, and not ours.
                assert_eq!((&*told.who, told.peer), ("two", run.ip(client)), "{} from {}", node.name, client.name);
            });
        }
    }
    run.client().assert_reaches(run.address(), &[one], "by its ClusterIP");
}

pub(super) fn row_15_load_balancer(run: &Run<'_>) {
    let ([one, two, _], [inside, outside]) = (run.backends(), run.cluster.clients.each_ref());
    let (balancer, external) = (run.family.outside(15), run.family.outside(115));
    let mut service = run.service(json!({
        "type": "LoadBalancer",
        "externalIPs": [external],
        "loadBalancerSourceRanges": [format!("{}/{}", run.ip(inside), run.family.host_prefix())],
    }));
    for mode in ["VIP", "Proxy"] {
        service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": balancer, "ipMode": mode }] } });
        run.apply(&[service.clone(), run.slice_of("a", &[one])]);
        if mode == "VIP" {
            run.lead((balancer, 80), two);
            run.lead((external, 80), two);
            run.cluster.nodes.iter().for_each(|node| node.keep_out(run.ip(outside), balancer));
        }
        for address in [balancer, external] {
            let told = inside.told((address, 80));
            assert_eq!((&*told.who, told.peer), ("two", run.ip(inside)), "{address} {mode}");
        }
        // Its connections come to its sidecar, which is no way in either.
        let told = outside.told((external, 80));
        assert_eq!((&*told.who, told.peer), ("two", run.ip(outside)), "{mode}, an address without a range");
        let kept_out = outside.dial((balancer, 80)).map(|(told, _)| told);
        assert!(kept_out.is_err(), "{mode}: a pod that is not in the source range gets in: {kept_out:?}");
    }
}

pub(super) fn row_36_foreign_proxy(run: &Run<'_>) {
    let [one, _, three] = run.backends();
    run.lead(run.address(), three);
    let service = || run.service(json!({}));
    let foreign = || labelled(service(), "service.kubernetes.io/service-proxy-name", "another");
    for (service, reached) in [(foreign(), three), (service(), one), (foreign(), three)] {
        run.apply(&[service, run.slice_of("a", &[one])]);
        run.client().assert_reaches(run.address(), &[reached], "by the label of who answers for it");
    }
}

pub(super) fn row_37_headless_label(run: &Run<'_>) {
    let [one, _, three] = run.backends();
    run.lead(run.address(), three);
    let service = || run.service(json!({}));
    let headless = || labelled(service(), "service.kubernetes.io/headless", "");
    for (service, reached) in [(headless(), three), (service(), one), (headless(), three)] {
        run.apply(&[service, run.slice_of("a", &[one])]);
        run.client().assert_reaches(run.address(), &[reached], "by the label");
    }
}

pub(super) fn row_38_ingress(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    run.apply(&[
        run.service(json!({ "ports": [port("http", 80)] })),
        slice(&run.name, "a", run.family, &[port("http", WEB)], &[ready(run.ip(one))]),
    ]);
    // Its host may be the controller's ClusterIP, or a load balancer's address.
    run.cluster.lead(Transport::Tcp, (run.family.outside(38), 80).into(), (run.ip(two), WEB).into());
    for (host, pod) in [(INGRESS, one), (BALANCER, two)] {
        for client in &run.cluster.clients {
            let answer = client.curl(&[run.family.ip(), &format!("http://{host}/")]);
            assert_eq!(answer, format!("{} {}", pod.name, run.ip(client)), "{host}");
        }
    }
}

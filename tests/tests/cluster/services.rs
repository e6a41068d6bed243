//! Rows of docs/services.md that need a cluster: what kubelet, kube-proxy and controllers have a part in.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::town::{Town, patiently};

const ASKS: &str = include_str!("asks.yaml");
const FAREWELL: &str = include_str!("farewell.yaml");
const SERVICES: &str = include_str!("services.yaml");

/// Addresses of load balancers that nobody has; kube-proxy leads them to pods all the same.
const BALANCED: &str = "203.0.113.7";
const RANGED: &str = "203.0.113.8";

pub(crate) fn services_of_every_kind_are_reached(town: &Town<'_>) {
    town.apply(SERVICES);
    row_12_and_39_pods_of_a_stateful_set_are_probed_and_have_names(town);
    row_32_pods_on_the_node_are_left_alone_and_reached(town);
    rows_14_and_15_node_ports_and_load_balancers_are_kube_proxys(town);
    last_calls_of_an_application_succeed(town);
    town.kubectl(&["delete", "statefulset", "db"]);
    town.kubectl(&["delete", "--wait=false", "pods", "--selector=app notin (client,web)"]);
}

/// Who answers a pod of the mesh that asks twenty times.
#[track_caller]
fn asked(town: &Town<'_>, name: &str, url: &str) -> BTreeSet<String> {
    ask(town, name, url);
    let said = said_in_the_end(town, name, "asks");
    assert_eq!(said.lines().count(), 20, "{url}: {said}\n{}", town.cluster.state());
    assert_eq!(sidecars(town, name), "wasmesh-proxy wasmesh-capture", "{name}");
    said.lines().map(str::to_owned).collect()
}

/// What a pod's container has said when the pod has ended, well or not.
#[track_caller]
fn said_in_the_end(town: &Town<'_>, pod: &str, container: &str) -> String {
    patiently(&format!("{pod} ends"), || {
        let phase = town.kubectl(&["get", "pod", pod, "--output=jsonpath={.status.phase}"]);
        (phase == "Failed" || phase == "Succeeded").then_some(())
    });
    town.kubectl(&["logs", pod, "--container", container])
}

fn ask(town: &Town<'_>, name: &str, url: &str) {
    town.apply(&ASKS.replace("NAMESPACE", &town.namespace).replace("NAME", name).replace("URL", url));
}

fn sidecars(town: &Town<'_>, pod: &str) -> String {
    town.kubectl(&["get", "pod", pod, "--output=jsonpath={.spec.initContainers[*].name}"])
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn row_12_and_39_pods_of_a_stateful_set_are_probed_and_have_names(town: &Town<'_>) {
    town.kubectl(&["rollout", "status", "--timeout=180s", "statefulset/db"]);
    assert_eq!(sidecars(town, "db-0"), "wasmesh-proxy wasmesh-capture");
    for pod in ["db-0", "db-1"] {
        assert_eq!(asked(town, &format!("asks-{pod}"), &format!("http://{pod}.db:8080/")), names([pod]));
    }
    // The name of all of them is some of them: a client keeps the connection that it has.
    assert!(asked(town, "asks-db", "http://db:8080/").is_subset(&names(["db-0", "db-1"])));
    // By then each has been probed many times, by HTTP, TCP and from inside.
    let restarts = "--output=jsonpath={.items[*].status.containerStatuses[*].restartCount}";
    assert_eq!(town.kubectl(&["get", "pods", "--selector=app=db", restarts]), "0 0");
}

fn row_32_pods_on_the_node_are_left_alone_and_reached(town: &Town<'_>) {
    town.cluster.wait(&["--namespace", &town.namespace, "--for=condition=Ready", "pod", "on-the-node"]);
    assert_eq!(sidecars(town, "on-the-node"), "");
    // It has the node's name and answers with that.
    assert_eq!(asked(town, "asks-the-node", "http://on-the-node/").len(), 1);
}

fn rows_14_and_15_node_ports_and_load_balancers_are_kube_proxys(town: &Town<'_>) {
    let web: BTreeSet<_> = town.pods("web").into_iter().collect();
    let port = town.kubectl(&["get", "service", "by-node", "--output=jsonpath={.spec.ports[0].nodePort}"]);
    let addresses = "--output=jsonpath={.items[0].status.addresses[?(@.type==\"InternalIP\")].address}";
    let nodes = town.kubectl(&["get", "nodes", addresses]);
    let node = nodes.split(' ').next().unwrap();
    assert!(asked(town, "asks-a-node-port", &format!("http://{node}:{port}/")).is_subset(&web));
    for (service, address) in [("balanced", BALANCED), ("ranged", RANGED)] {
        let status = format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{address}","ipMode":"VIP"}}]}}}}}}"#);
        town.kubectl(&["patch", "service", service, "--subresource=status", "--type=merge", "--patch", &status]);
    }
    assert!(asked(town, "asks-a-balancer", &format!("http://{BALANCED}/")).is_subset(&web));
    assert!(asked(town, "asks-its-cluster-ip", "http://balanced/").is_subset(&web));
    // Out of the source range: kube-proxy drops, and no sidecar leads round it.
    ask(town, "asks-in-vain", &format!("http://{RANGED}/"));
    let said = said_in_the_end(town, "asks-in-vain", "asks");
    assert!(
        said.contains("Timeout") && !said.lines().any(|line| web.contains(line)),
        "a source range is got round: {said}"
    );
    assert_eq!(sidecars(town, "asks-in-vain"), "wasmesh-proxy wasmesh-capture");
    assert!(asked(town, "asks-within", "http://ranged/").is_subset(&web));
}

/// An application is told to end before its sidecars are: what it still has to say is said through them.
fn last_calls_of_an_application_succeed(town: &Town<'_>) {
    town.apply(FAREWELL);
    let said = said_in_the_end(town, "farewell", "client");
    let mut totals = said.lines().rev().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (all, last) = (totals.next().unwrap(), totals.next().unwrap());
    assert!(last["answered"].as_u64() > Some(10), "{said}");
    assert_eq!((&last["failed"], &all["failed"]), (&0.into(), &0.into()), "{said}");
    // Without sidecars it would have been answered too: they were there to the last.
    let ends = |statuses: &str| {
        let path = format!("--output=jsonpath={{.status.{statuses}[*].state.terminated.finishedAt}}");
        let ends = town.kubectl(&["get", "pod", "farewell", &path]);
        ends.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    let (sidecars, application) = (ends("initContainerStatuses"), ends("containerStatuses"));
    assert!(sidecars.len() == 2 && sidecars.iter().all(|end| *end >= application[0]), "{sidecars:?} {application:?}");
}

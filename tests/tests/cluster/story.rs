//! The life of a mesh in a cluster, told once from its installation on: no request fails in it.

use std::path::Path;

use serde_json::Value;
use wasmesh_tests::kube::{Cluster, Image, VERSION};

use crate::{
    services::services_of_every_kind_are_reached,
    tools::people_find_their_way,
    town::{Town, install, patiently},
};

pub(crate) const CLIENT: &str = include_str!("client.yaml");
/// The pods of control planes.
const CONTROL_PLANES: &str = "app.kubernetes.io/name=wasmesh-control-plane";
const JOB: &str = include_str!("job.yaml");
const POLICY: &str = include_str!("policy.yaml");
pub(crate) const WEB: &str = include_str!("web.yaml");

#[test]
fn a_mesh_is_installed_used_rolled_and_upgraded_without_a_failed_request() {
    let cluster = Cluster::start();
    install(&cluster);
    let town = Town::new(&cluster, "story");
    town.apply(WEB);
    town.settled("web");
    town.apply(CLIENT);
    town.settled("client");
    sidecars_come_before_the_application(&town);
    requests_are_balanced_one_by_one(&town);
    town.nothing_failed("balanced by the built-in policy");
    names_are_answered_in_the_pod(&town);
    people_find_their_way(&town);
    services_of_every_kind_are_reached(&town);
    town.nothing_failed("beside Services of every kind");
    a_policy_of_ones_own_balances(&town);
    town.nothing_failed("balanced by a module");
    services_grow_and_shrink(&town);
    town.nothing_failed("scaled");
    town.kubectl(&["rollout", "restart", "deployment/web"]);
    town.settled("web");
    town.answered_by(&town.pods("web"));
    town.nothing_failed("rolled");
    a_deleted_pod_is_replaced(&town);
    town.nothing_failed("a pod deleted");
    control_planes_are_replaced(&town);
    town.nothing_failed("control planes restarted");
    an_outage_of_control_planes_is_no_event(&town);
    town.nothing_failed("without control planes");
    jobs_end(&town);
    sidecars_are_upgraded(&town);
    town.nothing_failed("upgraded");
}

fn sidecars_come_before_the_application(town: &Town<'_>) {
    let names = "--output=jsonpath={.items[0].spec.initContainers[*].name}";
    assert_eq!(town.kubectl(&["get", "pods", "--selector=app=client", names]), "wasmesh-proxy wasmesh-capture early");
}

/// Its connections stay open, so kube-proxy would send all requests of one to the same pod.
fn requests_are_balanced_one_by_one(town: &Town<'_>) {
    town.answered_by(&town.pods("web"));
    assert!(town.metric("wasmesh_requests_total", &[("service", "web"), ("namespace", &town.namespace)]) > 0.0);
}

/// The client has its DNS captured.
fn names_are_answered_in_the_pod(town: &Town<'_>) {
    patiently("the mesh answers for names", || {
        (town.metric("wasmesh_dns_queries_total", &[("answer", "mesh")]) > 0.0).then_some(())
    });
}

fn a_policy_of_ones_own_balances(town: &Town<'_>) {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built/rust/round-robin.wasm");
    let module = format!("--from-file=round-robin.wasm={}", module.display());
    town.kubectl(&["create", "configmap", "policies", &module]);
    town.apply(POLICY);
    town.cluster.wait(&[
        "--namespace",
        &town.namespace,
        "--for=jsonpath={.status.ancestors[0].conditions[?(@.type==\"Programmed\")].status}=True",
        "loadbalancingpolicy",
        "web",
    ]);
    patiently("the module chooses", || {
        let labels = [("service", "web"), ("policy", "web"), ("reason", "chosen")];
        (town.metric("wasmesh_policy_picks_total", &labels) > 0.0).then_some(())
    });
    // In turns: of many requests each pod has its share, but for what each worker counts by itself.
    let shares = town.answers(1000);
    let most = shares.values().max().unwrap();
    let least = shares.values().min().unwrap();
    assert!(shares.len() == 2 && most - least < most / 5, "{shares:?}");
    assert_eq!(town.metric("wasmesh_policy_faults_total", &[]), 0.0);
}

fn services_grow_and_shrink(town: &Town<'_>) {
    for replicas in ["--replicas=4", "--replicas=1", "--replicas=2"] {
        town.kubectl(&["scale", "deployment/web", replicas]);
        town.settled("web");
        town.answered_by(&town.pods("web"));
    }
}

fn a_deleted_pod_is_replaced(town: &Town<'_>) {
    let before = town.pods("web");
    town.kubectl(&["delete", "pod", &before[0]]);
    town.settled("web");
    let after = town.pods("web");
    assert!(!after.contains(&before[0]), "{after:?}");
    town.answered_by(&after);
}

/// `kubectl` about the mesh itself.
fn system(town: &Town<'_>, args: &[&str]) -> String {
    town.cluster.kubectl(&[&["--namespace=wasmesh-system"], args].concat(), "")
}

fn control_planes_are_replaced(town: &Town<'_>) {
    system(town, &["rollout", "restart", "deployment/wasmesh-control-plane"]);
    system(town, &["rollout", "status", "--timeout=180s", "deployment/wasmesh-control-plane"]);
    // What changes now is heard from the new ones.
    town.kubectl(&["scale", "deployment/web", "--replicas=3"]);
    town.settled("web");
    town.answered_by(&town.pods("web"));
}

/// What was known serves on, and pods start without sidecars rather than not at all.
fn an_outage_of_control_planes_is_no_event(town: &Town<'_>) {
    system(town, &["scale", "deployment/wasmesh-control-plane", "--replicas=0"]);
    town.cluster.wait(&["--namespace=wasmesh-system", "--for=delete", "pod", "--selector", CONTROL_PLANES]);
    let pods = town.pods("web");
    town.answered_by(&pods);
    town.kubectl(&["run", "plain", "--image=localhost/workload:test", "--", "serve", ":8080"]);
    town.cluster.wait(&["--namespace", &town.namespace, "--for=condition=Ready", "pod", "plain"]);
    let sidecars = "--output=jsonpath={.spec.initContainers[*].name}";
    assert_eq!(town.kubectl(&["get", "pod", "plain", sidecars]), "");
    system(town, &["scale", "deployment/wasmesh-control-plane", "--replicas=2"]);
    system(town, &["rollout", "status", "--timeout=180s", "deployment/wasmesh-control-plane"]);
    // And what changes from now on is heard again.
    town.kubectl(&["scale", "deployment/web", "--replicas=2"]);
    town.settled("web");
    town.answered_by(&town.pods("web"));
}

fn jobs_end(town: &Town<'_>) {
    town.apply(JOB);
    town.cluster.wait(&["--namespace", &town.namespace, "--for=condition=Complete", "job", "asks"]);
    let said = town.kubectl(&["logs", "job/asks", "--container=asks"]);
    assert_eq!(said.lines().filter(|line| line.starts_with("web-")).count(), 20, "{said}");
}

/// A sidecar is upgraded with its pod: the control plane is told of the new image, and pods are rolled.
fn sidecars_are_upgraded(town: &Town<'_>) {
    let next = format!("{VERSION}-next");
    town.cluster.import(Image::proxy(&next));
    let deployment = system(town, &["get", "deployment", "wasmesh-control-plane", "--output=json"]);
    let mut deployment: Value = serde_json::from_str(&deployment).unwrap();
    let arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array_mut().unwrap();
    let image = arguments.iter_mut().find(|argument| argument.as_str().unwrap().starts_with("--proxy-image=")).unwrap();
    *image = format!("--proxy-image=ghcr.io/wasmesh/wasmesh-proxy:{next}").into();
    town.cluster.apply(&deployment.to_string());
    system(town, &["rollout", "status", "--timeout=180s", "deployment/wasmesh-control-plane"]);
    for deployment in ["web", "client"] {
        town.nothing_failed("before the pods are rolled");
        town.kubectl(&["rollout", "restart", &format!("deployment/{deployment}")]);
        town.settled(deployment);
    }
    let images = "--output=jsonpath={.items[*].spec.initContainers[*].image}";
    let images =
        town.kubectl(&["get", "pods", "--selector=app=client", "--field-selector=status.phase=Running", images]);
    assert!(images.contains(&next), "{images}");
    town.answered_by(&town.pods("web"));
}

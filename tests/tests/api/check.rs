//! `wasmesh check` on a real API server, from a bare cluster to a mesh and through what goes wrong with it.

use std::{path::Path, process::Command};

use serde_json::{Value, json};
use wasmesh_tests::{
    eventually,
    kube::{ApiServer, FakePod, Installation},
    process::command_line,
    until,
};

/// What was found.
pub(crate) struct Checked {
    has_failed: bool,
    pub(crate) findings: Vec<Value>,
}

impl Checked {
    pub(crate) fn of(kubeconfig: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(command_line());
        let output = command.args(["check", "--output", "json"]).args(options).env("KUBECONFIG", kubeconfig).output();
        let output = output.unwrap();
        let page: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        Self { has_failed: !output.status.success(), findings: page["findings"].as_array().unwrap().clone() }
    }

    /// The worst that was found about something, and in which words.
    #[track_caller]
    fn about(&self, about: &str) -> (&str, &str) {
        let order = ["ok", "note", "warning", "error"];
        let found = self.findings.iter().filter(|finding| finding["about"] == about);
        let worst = found.max_by_key(|finding| order.iter().position(|level| finding["level"] == *level));
        let worst = worst.unwrap_or_else(|| panic!("nothing about {about}: {:#?}", self.findings));
        (worst["level"].as_str().unwrap(), worst["says"].as_str().unwrap())
    }

    fn errors(&self) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["level"] == "error").collect()
    }
}

#[test]
fn a_bare_cluster_is_ready_for_the_mesh_and_does_not_have_it() {
    let server = ApiServer::start();
    let before = Checked::of(server.kubeconfig(), &["--pre"]);
    assert_eq!((before.has_failed, before.errors()), (false, vec![]));
    assert_eq!(before.about("permissions").0, "ok");
    assert_eq!(before.about("Service ranges").0, "ok");
    let after = Checked::of(server.kubeconfig(), &[]);
    assert!(after.has_failed);
    for about in ["policies", "control plane", "webhook", "certificate"] {
        assert_eq!(after.about(about).0, "error", "{about}");
    }
}

#[test]
fn a_mesh_is_as_it_should_be_until_something_goes_wrong() {
    let mut server = ApiServer::start();
    server.start_controllers();
    let server = &server;
    let mesh = Installation::on(server);
    let poor = server.account_kubeconfig("default", "default");
    let denied = Checked::of(&poor, &["--pre"]);
    assert!(denied.has_failed && denied.about("permissions").1.contains("you may not create"), "{:?}", denied.findings);

    // Its Deployment has nowhere to run: a process stands in for its pods.
    let control_plane = mesh.ready_control_plane("check", &[]);
    server.lead("wasmesh-system", "wasmesh-control-plane", 443, control_plane.address("webhook"));
    let scale = json!({ "spec": { "replicas": 1 } }).to_string();
    let deployment =
        ["--namespace=wasmesh-system", "patch", "deployment", "wasmesh-control-plane", "--type=merge", "--patch"];
    server.kubectl(&[&deployment[..], &[&scale]].concat(), "");
    let namespace = server.namespace("checked");
    server.node("check", None);
    for name in ["early", "gone"] {
        let (namespace, ips, node) = (&namespace, &["10.244.77.1"], "check");
        server.pod(&FakePod { namespace, name, node, labels: &[], annotations: &[], ips, ports: &[] });
    }
    server.kubectl(&["label", "namespace", &namespace, "wasmesh.io/inject=enabled"], "");
    let check = || Checked::of(server.kubeconfig(), &[]);
    until("the leader has written what the API server is to trust", || check().about("webhook").0 == "ok");
    let good = check();
    assert_eq!(
        good.about("control plane"),
        ("error", "0 of 1 replicas are available: running sidecars go on with what they know, new pods are not meshed")
    );
    assert_eq!(good.errors().len(), 1, "{:#?}", good.findings);
    for about in ["API server", "policies", "Service ranges", "certificate", "namespaces", "other meshes"] {
        assert_eq!(good.about(about).0, "ok", "{:#?}", good.findings);
    }
    let (level, says) = good.about("pods");
    assert!(
        level == "warning" && says.contains(&format!("2 of namespace {namespace} have no sidecar: early, gone")),
        "{says}"
    );

    let deny = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": { "namespace": namespace, "name": "deny" },
        "spec": { "podSelector": {}, "policyTypes": ["Egress"] },
    });
    server.apply(&deny.to_string());
    server.kubectl(&["label", "namespace", &namespace, "pod-security.kubernetes.io/enforce=baseline"], "");
    let bad = check();
    assert_eq!((bad.about("egress").0, bad.about("namespaces").0), ("warning", "warning"));

    // Nobody answers the API server any more.
    drop(control_plane);
    let unanswered =
        eventually("the webhook does not answer", || Some(check()).filter(|it| it.about("webhook").0 == "error"));
    assert!(unanswered.about("webhook").1.contains("does not get an answer"), "{:?}", unanswered.findings);
}

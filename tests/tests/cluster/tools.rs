//! How people look at a mesh in a cluster: `wasmesh check`, `status` and `endpoints`, from outside.

use std::process::Command;

use wasmesh_tests::process::command_line;

use crate::town::Town;

/// All is well, and each sidecar and each replica is found by a forwarded port.
pub(crate) fn people_find_their_way(town: &Town<'_>) {
    let checked = said(town, &["check"]);
    assert!(checked.contains("\n0 errors, 0 warnings"), "{checked}");
    let client = town.kubectl(&["get", "pods", "--selector=app=client", "--output=jsonpath={.items[0].metadata.name}"]);
    let client = format!("{}/{client}", town.namespace);
    let status = said(town, &["status", "--pod", &client]);
    assert!(status.contains("connected to wasmesh-control-plane-"), "{status}");
    let endpoints = said(town, &["endpoints", &format!("web.{}", town.namespace), "--pod", &client]);
    assert_eq!(endpoints.lines().filter(|line| line.contains(":8080")).count(), 2, "{endpoints}");
    let replicas = said(town, &["status", "--control-plane"]);
    assert_eq!(replicas.lines().filter(|line| line.starts_with("replica")).count(), 2, "{replicas}");
    assert!(replicas.contains(&client), "{replicas}");
}

/// What the command line says, when it has no objection.
#[track_caller]
fn said(town: &Town<'_>, arguments: &[&str]) -> String {
    let mut command = Command::new(command_line());
    let output = command.args(arguments).env("KUBECONFIG", town.cluster.kubeconfig()).output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}{error}");
    said.into_owned()
}

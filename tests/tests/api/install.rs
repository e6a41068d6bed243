//! The manifests that the command line prints, and those that it changes, as kubectl and the API server take them.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::Value;
use wasmesh_tests::{
    kube::{ApiServer, Installation},
    process::command_line,
    until,
};

use crate::mesh::shared;

/// What the command line prints, with this as its input.
#[track_caller]
fn printed(args: &[&str], stdin: &str) -> String {
    let mut command = Command::new(command_line());
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of a text as kubectl reads them, by kind and name.
#[track_caller]
fn objects(server: &ApiServer, manifests: &str) -> Vec<Value> {
    let read = server.kubectl(&["create", "--dry-run=client", "--output=json", "--filename=-"], manifests);
    let mut objects: Vec<Value> =
        serde_json::Deserializer::from_str(&read).into_iter().map(|object| object.unwrap()).collect();
    if let [list] = &objects[..]
        && list["kind"] == "List"
    {
        objects = list["items"].as_array().unwrap().clone();
    }
    objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
    objects
}

#[test]
fn what_is_printed_is_the_base() {
    let server = ApiServer::shared();
    let base = server.kubectl(&["kustomize", concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy")], "");
    let (printed, base) = (objects(server, &printed(&["install"], "")), objects(server, &base));
    assert_eq!(printed.len(), 12);
    for (printed, base) in printed.iter().zip(&base) {
        assert_eq!(printed, base);
    }
    assert_eq!(printed.len(), base.len());
}

#[test]
fn what_is_injected_by_hand_is_injected_once() {
    let mesh = shared();
    let server = mesh.installation.server;
    let namespace = server.namespace("by-hand");
    server.kubectl(&["label", "namespace", &namespace, "wasmesh.io/inject=enabled"], "");
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.crt");
    std::fs::write(&bundle, mesh.installation.ca_bundle()).unwrap();
    let deployment = "# Kept as it is.\nkind: ConfigMap\napiVersion: v1\nmetadata: {name: notes}\ndata: {mode: \"0644\"}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: app}\nspec: {containers: [{name: app, image: none, args: ['yes', \"1\"]}]}\n";
    let bundle = bundle.display().to_string();
    let args = ["inject", "--filename", "-", "--ca-bundle", &bundle, "--service-cidr", "10.96.0.0/16"];
    let injected = printed(&args, deployment);
    assert!(injected.starts_with("# Kept as it is.\nkind: ConfigMap\n"), "{injected}");
    server.kubectl(&["--namespace", &namespace, "apply", "--filename=-"], &injected);
    let pod = server.kubectl(&["--namespace", &namespace, "get", "pod", "app", "--output=json"], "");
    let pod: Value = serde_json::from_str(&pod).unwrap();
    let names: Vec<_> = pod["spec"]["initContainers"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["wasmesh-proxy", "wasmesh-capture"]);
    assert_eq!(pod["spec"]["containers"][0]["args"], serde_json::json!(["yes", "1"]));
}

#[test]
fn what_is_installed_can_be_removed() {
    let server = ApiServer::start();
    server.kubectl(&["apply", "--server-side", "--filename=-"], &printed(&["install", "--failure-policy=Fail"], ""));
    let _same = Installation::on(&server);
    let there = |kind: &str, name: &str| server.try_kubectl(&["get", kind, name], "").status.success();
    let remove = ["delete", "--wait=false", "--filename=-"];

    server.kubectl(&remove, &printed(&["uninstall"], ""));
    for (kind, name) in [
        ("mutatingwebhookconfiguration", "wasmesh-injector"),
        ("clusterrole", "wasmesh-control-plane"),
        ("clusterrolebinding", "wasmesh-control-plane"),
    ] {
        assert!(!there(kind, name), "{kind} {name}");
    }
    let namespace = server.kubectl(&["get", "namespace", "wasmesh-system", "--output=jsonpath={.status.phase}"], "");
    assert_eq!(namespace, "Terminating");
    assert!(there("crd", "loadbalancingpolicies.wasmesh.io"), "policies are their authors'");

    server.kubectl(&[&remove[..], &["--ignore-not-found"]].concat(), &printed(&["uninstall", "--crds"], ""));
    until("the definition of policies is gone", || !there("crd", "loadbalancingpolicies.wasmesh.io"));
}

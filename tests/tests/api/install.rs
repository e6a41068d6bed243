//! The manifests that the command line prints, and those that it changes, as kubectl and the API server take them.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use wasmesh_tests::{
    eventually,
    kube::{ApiServer, Installation},
    process::command_line,
    until,
};

use crate::mesh::shared;

/// What the command line prints, with this as its input.
#[track_caller]
fn printed(args: &[&str], stdin: &str) -> String {
    let output = run(Path::new("/nowhere"), args, stdin);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What becomes of a command that finds its cluster by this file.
#[track_caller]
fn run(kubeconfig: &Path, args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(command_line());
    command.env("KUBECONFIG", kubeconfig);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that fails before it reads closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
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
fn the_certificate_is_had_of_whichever_object_may_be_looked_at() {
    let mesh = shared();
    let server = mesh.installation.server;
    let bundle = mesh.installation.ca_bundle();
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: app}, spec: {containers: [{name: app, image: none}]}}";
    let args = ["inject", "--filename=-", "--service-cidr=10.96.0.0/16"];
    let trusts = |output: &Output| {
        let pod: Value = serde_json::from_str(&server.kubectl(
            &["create", "--dry-run=client", "--output=json", "--filename=-"],
            &String::from_utf8_lossy(&output.stdout),
        ))
        .unwrap();
        let env = pod["spec"]["initContainers"][0]["env"].as_array().unwrap().clone();
        env.into_iter().find(|variable| variable["name"] == "WASMESH_CA_BUNDLE").unwrap()["value"].clone()
    };
    eventually("the configuration of the webhook has the bundle", || {
        let output = run(server.kubeconfig(), &args, pod);
        (output.status.success() && trusts(&output) == bundle.as_str()).then_some(())
    });

    // Who may look at nothing is told what was tried; who may look at the Secret needs no more.
    let namespace = server.namespace("trust");
    let poor = server.account_kubeconfig(&namespace, "default");
    let output = run(&poor, &args, pod);
    let said = String::from_utf8_lossy(&output.stderr);
    for part in ["--ca-bundle FILE", "webhook configuration wasmesh-injector", "Secret wasmesh-system/wasmesh-ca"] {
        assert!(!output.status.success() && said.contains(part), "{said}");
    }
    let role = ["create", "role", "trust", "--verb=get", "--resource=secrets", "--resource-name=wasmesh-ca"];
    server.kubectl(&[&role[..], &["--namespace=wasmesh-system"]].concat(), "");
    let account = format!("--serviceaccount={namespace}:default");
    let binding = ["create", "rolebinding", "trust", "--role=trust", &account, "--namespace=wasmesh-system"];
    server.kubectl(&binding, "");
    eventually("the Secret may be looked at", || {
        let output = run(&poor, &args, pod);
        (output.status.success() && trusts(&output) == bundle.as_str()).then_some(())
    });

    let output = run(Path::new("/nowhere"), &args, pod);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--ca-bundle FILE") && said.contains("KUBECONFIG"), "{said}");
}

#[test]
fn what_is_installed_can_be_removed() {
    let server = ApiServer::start();
    let install = ["install", "--failure-policy=Fail", "--module-pull-secrets"];
    server.kubectl(&["apply", "--server-side", "--filename=-"], &printed(&install, ""));
    let _same = Installation::on(&server);
    let there = |kind: &str, name: &str| server.try_kubectl(&["get", kind, name], "").status.success();
    let remove = ["delete", "--wait=false", "--filename=-"];

    server.kubectl(&remove, &printed(&["uninstall"], ""));
    for (kind, name) in [
        ("mutatingwebhookconfiguration", "wasmesh-injector"),
        ("clusterrole", "wasmesh-control-plane"),
        ("clusterrole", "wasmesh-pull-secrets"),
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

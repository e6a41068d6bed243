//! An installation, and pods.
#![allow(dead_code, reason = "every test binary uses its own part")]

use serde_json::{Value, json};
use wasmesh_injection::{Decision, Facts, Injection, PodSecurity, Resources, Settings, inject, names};

/// A dual-stack installation.
pub(crate) fn settings() -> Settings {
    Settings {
        image: "ghcr.io/wasmesh/wasmesh-proxy:0.1.0".to_owned(),
        version: "0.1.0".to_owned(),
        control_plane: names::control_plane("wasmesh-system", "cluster.local"),
        ca_bundle: "-----BEGIN CERTIFICATE-----\n".to_owned(),
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap(), "fd00:10:96::/112".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
        resources: Resources::default(),
    }
}

/// A namespace that asks for the mesh and forbids nothing.
pub(crate) fn opted_in() -> Facts {
    Facts { opted_in: true, pod_security: PodSecurity::Allows }
}

/// A namespace that says nothing.
pub(crate) fn silent() -> Facts {
    Facts { opted_in: false, pod_security: PodSecurity::Allows }
}

/// A pod with one container, and this in its spec.
pub(crate) fn pod_with(spec: Value) -> Value {
    let mut pod = json!({
        "metadata": { "name": "web" },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    });
    merge(&mut pod["spec"], spec);
    pod
}

/// A pod with one container, and this in its metadata.
pub(crate) fn pod_marked(metadata: Value) -> Value {
    let mut pod = pod_with(json!({}));
    merge(&mut pod["metadata"], metadata);
    pod
}

/// What a pod becomes that is meshed in a namespace that asks for it.
#[track_caller]
pub(crate) fn injected(pod: &Value) -> Injection {
    match inject(pod, &opted_in(), &settings()) {
        Decision::Inject(injection) => injection,
        other => panic!("not injected: {other:?}"),
    }
}

/// The sidecar of this name.
#[track_caller]
pub(crate) fn sidecar<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let init = pod["spec"]["initContainers"].as_array().unwrap();
    init.iter().find(|container| container["name"] == name).unwrap_or_else(|| panic!("no {name} in {pod:#}"))
}

/// The arguments of a sidecar.
pub(crate) fn arguments(pod: &Value, name: &str) -> Vec<String> {
    let arguments = sidecar(pod, name)["args"].as_array().unwrap();
    arguments.iter().map(|argument| argument.as_str().unwrap().to_owned()).collect()
}

fn merge(into: &mut Value, what: Value) {
    let (Value::Object(into), Value::Object(what)) = (into, what) else { panic!("two objects") };
    into.extend(what);
}

//! Kubernetes objects, as rows write them.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{cluster::NAMESPACE, family::Family};

/// A Service with this spec. Its first address is its primary one.
pub(crate) fn service(name: &str, mut spec: Value) -> Value {
    if let Some(primary) = spec["clusterIPs"].get(0).cloned() {
        spec["clusterIP"] = primary;
    }
    json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": NAMESPACE }, "spec": spec })
}

/// A Service's port.
pub(crate) fn port(name: &str, number: u16) -> Value {
    json!({ "name": name, "port": number, "protocol": "TCP" })
}

/// Part of a Service's endpoints: those behind these ports.
pub(crate) fn slice(service: &str, part: &str, family: Family, ports: &[Value], endpoints: &[Value]) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-{part}"),
            "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": family.name(),
        "ports": ports,
        "endpoints": endpoints,
    })
}

/// A ready endpoint.
pub(crate) fn ready(ip: IpAddr) -> Value {
    json!({ "addresses": [ip], "conditions": { "ready": true, "serving": true, "terminating": false } })
}

/// The same object with one more member; the path is a JSON pointer.
pub(crate) fn with(mut object: Value, path: &str, value: Value) -> Value {
    let (parent, member) = path.rsplit_once('/').unwrap_or(("", path));
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent} in an object"));
    parent[member] = value;
    object
}

/// The same object with a label or an annotation.
pub(crate) fn labelled(object: Value, label: &str, value: &str) -> Value {
    marked(object, "labels", label, value)
}

pub(crate) fn annotated(object: Value, annotation: &str, value: &str) -> Value {
    marked(object, "annotations", annotation, value)
}

fn marked(mut object: Value, kind: &str, key: &str, value: &str) -> Value {
    object["metadata"][kind][key] = value.into();
    object
}

//! The mesh of the tests that share a server: installed once, with one control plane.

use std::sync::OnceLock;

use serde_json::Value;
use wasmesh_tests::{
    eventually,
    kube::{ApiServer, Installation},
    process::Process,
};

pub(crate) struct Shared {
    pub(crate) installation: Installation<'static>,
    pub(crate) control_plane: Process,
}

pub(crate) fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let installation = Installation::on(ApiServer::shared());
        let control_plane = installation.ready_control_plane("shared", &[]);
        Shared { installation, control_plane }
    })
}

/// What a control plane publishes of a Service; null if it does not know it.
pub(crate) fn published(control_plane: &Process, service: &str) -> Value {
    let mut snapshot = control_plane.admin().json("/debug/snapshot");
    let services = snapshot["services"].as_array_mut().expect("services");
    services.iter_mut().find(|it| it["service"] == service).map_or(Value::Null, Value::take)
}

/// The addresses of a Service that a control plane publishes, in order.
pub(crate) fn addresses(control_plane: &Process, service: &str) -> Vec<String> {
    let service = published(control_plane, service);
    let endpoints = service["endpoints"].as_array().into_iter().flatten();
    let mut addresses: Vec<_> =
        endpoints.map(|endpoint| endpoint["address"].as_str().expect("an address").to_owned()).collect();
    addresses.sort();
    addresses
}

/// Waits until a control plane publishes these addresses of a Service.
#[track_caller]
pub(crate) fn until_published(control_plane: &Process, service: &str, expected: &[&str]) {
    let mut last = Vec::new();
    let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the addresses are published", || {
            last = addresses(control_plane, service);
            (last == expected).then_some(())
        });
    }));
    assert!(looked.is_ok(), "{service}: {last:?} is published, not {expected:?}");
}

/// A Service of one port.
pub(crate) fn service(namespace: &str, name: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{ports: [{{name: http, \
         port: 80}}]}}}}"
    )
}

/// A slice of a Service, as a controller of somebody's own would write it.
pub(crate) fn slice(namespace: &str, service: &str, name: &str, addresses: &[&str]) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{addresses: [{address}]}}")).collect();
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{name: {name}, namespace: \
         {namespace}, labels: {{kubernetes.io/service-name: {service}}}}}, ports: [{{name: http, port: 8080}}], endpoints: \
         [{}]}}",
        endpoints.join(", ")
    )
}

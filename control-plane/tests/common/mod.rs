//! Objects from text, and the Services they amount to.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::{fs, path::Path, sync::Arc};

use wasmesh_control_plane::{
    registry::{ObjectChange, Registry},
    source::folder::parse::parse,
    translate::{Object, Problem},
};
use wasmesh_core::{
    endpoint::Endpoint,
    service::{Service, ServicePort},
    snapshot::Snapshot,
};

/// The text of a file in `tests/manifests` of the workspace.
pub(crate) fn manifest(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/manifests").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of a text without mistakes.
pub(crate) fn objects(yaml: &str) -> Vec<Object> {
    let parsed = parse(yaml);
    assert_eq!(parsed.problems, [], "in {yaml}");
    parsed.objects.into_iter().map(|object| object.value).collect()
}

/// The objects of a text, as changes.
pub(crate) fn upserts(yaml: &str) -> Vec<ObjectChange> {
    objects(yaml).into_iter().map(ObjectChange::Upsert).collect()
}

/// The objects of a text going away.
pub(crate) fn deletes(yaml: &str) -> Vec<ObjectChange> {
    objects(yaml).iter().map(|object| ObjectChange::Delete(object.key())).collect()
}

/// A registry that has seen these objects.
pub(crate) fn registry(yaml: &str) -> Registry {
    let mut registry = Registry::default();
    registry.apply(upserts(yaml));
    registry
}

/// A Service by `namespace/name`.
pub(crate) fn find(snapshot: &Snapshot, name: &str) -> Option<Arc<Service>> {
    snapshot.iter().find(|(found, _)| found.as_str() == name).map(|(_, service)| Arc::clone(service))
}

/// A Service that must be there.
pub(crate) fn service(registry: &Registry, name: &str) -> Arc<Service> {
    find(&registry.snapshot(), name).unwrap_or_else(|| panic!("{name} is not published"))
}

/// A port by name.
pub(crate) fn port<'a>(service: &'a Service, name: &str) -> &'a ServicePort {
    service.spec.value.ports.iter().find(|port| port.name == name).unwrap_or_else(|| panic!("no port {name:?}"))
}

/// The endpoints of a port, in the order of their addresses.
pub(crate) fn endpoints(service: &Service, port: &str) -> Vec<Arc<Endpoint>> {
    let mut found: Vec<_> = service.endpoints.iter().filter(|endpoint| endpoint.port == port).cloned().collect();
    found.sort_by_key(|endpoint| endpoint.address);
    found
}

/// The addresses behind a port, in order.
pub(crate) fn addresses(service: &Service, port: &str) -> Vec<String> {
    endpoints(service, port).iter().map(|endpoint| endpoint.address.to_string()).collect()
}

/// Problems as they are shown.
pub(crate) fn shown<'a>(problems: impl IntoIterator<Item = &'a Problem>) -> Vec<String> {
    problems.into_iter().map(ToString::to_string).collect()
}

/// What names the content of every Service.
pub(crate) fn versions(snapshot: &Snapshot) -> Vec<(String, String, String)> {
    let version = |service: &Service| (service.spec.version.to_string(), service.endpoints.version().to_string());
    let named = snapshot.iter().map(|(name, service)| (name.to_string(), version(service)));
    named.map(|(name, (spec, endpoints))| (name, spec, endpoints)).collect()
}

/// A Service `shop/web` at 10.96.0.1 with these ports and, for the other fields of its spec, this.
pub(crate) fn web(ports: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web, namespace: shop}}\n\
         spec: {{clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], ports: [{ports}]{more}}}\n"
    )
}

/// An IPv4 slice of `shop/web`.
pub(crate) fn slice(name: &str, ports: &str, endpoints: &str) -> String {
    format!(
        "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}\n\
         addressType: IPv4\nports: [{ports}]\nendpoints: [{endpoints}]\n"
    )
}

/// A port.
pub(crate) const HTTP: &str = "{name: http, port: 80}";
/// The port of a slice behind it.
pub(crate) const HTTP_8080: &str = "{name: http, port: 8080, protocol: TCP}";

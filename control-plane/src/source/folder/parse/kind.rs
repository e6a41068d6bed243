//! Which objects are wanted, and how they are read.

use std::sync::Arc;

use k8s_openapi::{
    api::{core::v1::Service, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Deserialize, Deserializer};

use crate::{
    afar::credentials::PullSecret,
    translate::{
        Object, ObjectKind,
        policy::{ConfigMap, PolicyObject, spec::LoadBalancingPolicy},
    },
};

const DEFAULT_NAMESPACE: &str = "default";
const KINDS: [ObjectKind; 7] = [
    ObjectKind::Service,
    ObjectKind::EndpointSlice,
    ObjectKind::Pod,
    ObjectKind::Node,
    ObjectKind::LoadBalancingPolicy,
    ObjectKind::ConfigMap,
    ObjectKind::Secret,
];

/// What a document holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// An object.
    Object(ObjectKind),
    /// A list of objects; without a kind, each of them names its own.
    ListOf(Option<ObjectKind>),
}

/// What to make of a document with this type; `None` for one that is no business of ours.
pub(super) fn wanted(api_version: Option<&str>, kind: Option<&str>) -> Result<Option<Wanted>, String> {
    let Some(kind) = kind.filter(|kind| !kind.is_empty()) else {
        return Err("kind is missing: a Kubernetes object has apiVersion and kind".to_owned());
    };
    let wanted = match kind.strip_suffix("List") {
        Some("") => Some((Wanted::ListOf(None), "v1")),
        Some(item) => named(item).map(|item| (Wanted::ListOf(Some(item)), api_version_of(item))),
        None => named(kind).map(|kind| (Wanted::Object(kind), api_version_of(kind))),
    };
    let Some((wanted, expected)) = wanted else {
        return Ok(None);
    };
    match api_version {
        Some(given) if given == expected => Ok(Some(wanted)),
        Some(given) if group(given) != group(expected) => Ok(None),
        Some(given) => Err(format!("{kind} of apiVersion {given:?} is not read: use {expected:?}")),
        None => Err(format!("apiVersion is missing: write {expected:?} for a {kind}")),
    }
}

fn named(kind: &str) -> Option<ObjectKind> {
    KINDS.into_iter().find(|known| known.as_str() == kind)
}

fn api_version_of(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::EndpointSlice => "discovery.k8s.io/v1",
        ObjectKind::LoadBalancingPolicy => "wasmesh.io/v1alpha1",
        ObjectKind::Service | ObjectKind::Pod | ObjectKind::Node | ObjectKind::ConfigMap | ObjectKind::Secret => "v1",
    }
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Reads an object of a known kind.
pub(super) fn read<'de, D: Deserializer<'de>>(kind: ObjectKind, deserializer: D) -> Result<Object, D::Error> {
    Ok(match kind {
        ObjectKind::Service => Object::Service(Arc::new(Service::deserialize(deserializer)?)),
        ObjectKind::EndpointSlice => Object::EndpointSlice(Arc::new(EndpointSlice::deserialize(deserializer)?)),
        ObjectKind::Pod => Object::Pod(Arc::new(MetadataOnly::deserialize(deserializer)?.metadata)),
        ObjectKind::Node => Object::Node(Arc::new(MetadataOnly::deserialize(deserializer)?.metadata)),
        ObjectKind::LoadBalancingPolicy => {
            let policy = LoadBalancingPolicy::deserialize(deserializer)?;
            Object::LoadBalancingPolicy(Arc::new(PolicyObject::new(policy)))
        }
        ObjectKind::ConfigMap => Object::ConfigMap(Arc::new(ConfigMap::deserialize(deserializer)?)),
        ObjectKind::Secret => Object::Secret(Arc::new(PullSecret::deserialize(deserializer)?)),
    })
}

/// The part of pods and nodes that matters here; the rest may be whatever it is.
#[derive(Deserialize)]
struct MetadataOnly {
    #[serde(default)]
    metadata: ObjectMeta,
}

/// Checks the name and fills in the namespace, as the API server does.
pub(super) fn complete(mut object: Object) -> Result<Object, String> {
    let kind = object.kind();
    let metadata = match &mut object {
        Object::Service(service) => &mut Arc::make_mut(service).metadata,
        Object::EndpointSlice(slice) => &mut Arc::make_mut(slice).metadata,
        Object::Pod(metadata) | Object::Node(metadata) => Arc::make_mut(metadata),
        Object::LoadBalancingPolicy(object) => &mut Arc::make_mut(object).policy.metadata,
        Object::ConfigMap(config_map) => &mut Arc::make_mut(config_map).metadata,
        Object::Secret(secret) => &mut Arc::make_mut(secret).metadata,
    };
    let Some(name) = metadata.name.as_deref().filter(|name| !name.is_empty()) else {
        return Err(format!("metadata.name is missing: name the {kind}"));
    };
    check_name("name", name)?;
    metadata.namespace = kind.is_namespaced().then(|| namespace_or_default(metadata.namespace.take()));
    metadata.namespace.as_deref().map_or(Ok(()), |namespace| check_name("namespace", namespace))?;
    Ok(object)
}

/// The namespace of an object that may not say it.
pub(super) fn namespace_or_default(namespace: Option<String>) -> String {
    namespace.filter(|namespace| !namespace.is_empty()).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
}

/// The characters of Kubernetes names: no name gets into logs, host names or paths that does not belong there.
fn check_name(field: &str, text: &str) -> Result<(), String> {
    if text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.')) {
        return Ok(());
    }
    Err(format!("metadata.{field} {text:?} is not allowed: use lower-case letters, digits, '-' and '.'"))
}

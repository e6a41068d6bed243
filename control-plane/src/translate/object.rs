//! The Kubernetes objects the control plane reads, and how they are named.

use std::{fmt, sync::Arc};

use k8s_openapi::{
    api::{core::v1::Service, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::{Serialize, Serializer};

use super::policy::{ConfigMap, PolicyObject};
use crate::afar::credentials::PullSecret;

/// One object, as a source gives it. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A Service.
    Service(Arc<Service>),
    /// Some of the endpoints of a Service.
    EndpointSlice(Arc<EndpointSlice>),
    /// The metadata of a pod.
    Pod(Arc<ObjectMeta>),
    /// The metadata of a node.
    Node(Arc<ObjectMeta>),
    /// A policy, and the files that it names.
    LoadBalancingPolicy(Arc<PolicyObject>),
    /// A ConfigMap that a policy names.
    ConfigMap(Arc<ConfigMap>),
    /// A Secret that a policy names; only folders give them.
    Secret(Arc<PullSecret>),
}

/// The kinds of [`Object`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `v1 Service`.
    Service,
    /// `discovery.k8s.io/v1 EndpointSlice`.
    EndpointSlice,
    /// `v1 Pod`.
    Pod,
    /// `v1 Node`.
    Node,
    /// `wasmesh.io/v1alpha1 LoadBalancingPolicy`.
    LoadBalancingPolicy,
    /// `v1 ConfigMap`.
    ConfigMap,
    /// `v1 Secret`.
    Secret,
}

/// Names one object. Displayed and serialized as `Service shop/cart`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace; empty for a node.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Service(_) => ObjectKind::Service,
            Self::EndpointSlice(_) => ObjectKind::EndpointSlice,
            Self::Pod(_) => ObjectKind::Pod,
            Self::Node(_) => ObjectKind::Node,
            Self::LoadBalancingPolicy(_) => ObjectKind::LoadBalancingPolicy,
            Self::ConfigMap(_) => ObjectKind::ConfigMap,
            Self::Secret(_) => ObjectKind::Secret,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Service(service) => &service.metadata,
            Self::EndpointSlice(slice) => &slice.metadata,
            Self::Pod(metadata) | Self::Node(metadata) => metadata,
            Self::LoadBalancingPolicy(object) => &object.policy.metadata,
            Self::ConfigMap(config_map) => &config_map.metadata,
            Self::Secret(secret) => &secret.metadata,
        }
    }

    /// Its name.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::of(self.kind(), self.metadata())
    }
}

impl ObjectKey {
    /// The name of the object with this metadata.
    pub fn of(kind: ObjectKind, metadata: &ObjectMeta) -> Self {
        let namespace = if kind.is_namespaced() { metadata.namespace.clone() } else { None };
        Self { kind, namespace: namespace.unwrap_or_default(), name: metadata.name.clone().unwrap_or_default() }
    }
}

impl ObjectKind {
    /// Whether objects of this kind live in a namespace.
    pub fn is_namespaced(self) -> bool {
        self != Self::Node
    }

    /// The kind, as written in an object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Node => "Node",
            Self::LoadBalancingPolicy => "LoadBalancingPolicy",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        if kind.is_namespaced() { write!(f, "{kind} {namespace}/{name}") } else { write!(f, "{kind} {name}") }
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

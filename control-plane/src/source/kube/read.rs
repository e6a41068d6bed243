//! What is kept of the API server's objects. Most of an object is of no use here, and there are many.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};

use crate::translate::{
    Object, ObjectKey, ObjectKind,
    policy::{self, PolicyObject, spec::LoadBalancingPolicy},
};

/// Annotations with this prefix are ours, and others are not read.
const OUR_ANNOTATIONS: &str = "wasmesh.io/";

/// An object as it was read.
pub(super) struct Read {
    pub(super) key: ObjectKey,
    pub(super) version: String,
    /// Why it cannot be read, if it cannot.
    pub(super) object: Result<Object, String>,
}

impl Read {
    fn new(
        kind: ObjectKind,
        metadata: &mut ObjectMeta,
        object: impl FnOnce(ObjectMeta) -> Result<Object, String>,
    ) -> Self {
        let key = ObjectKey::of(kind, metadata);
        let version = metadata.resource_version.take().unwrap_or_default();
        Self { object: object(trimmed(std::mem::take(metadata))), key, version }
    }
}

pub(super) fn service(mut service: Service) -> Read {
    let mut metadata = std::mem::take(&mut service.metadata);
    Read::new(ObjectKind::Service, &mut metadata, |metadata| {
        Ok(Object::Service(Arc::new(Service { metadata, spec: service.spec, status: None })))
    })
}

pub(super) fn slice(mut slice: EndpointSlice) -> Read {
    let mut metadata = std::mem::take(&mut slice.metadata);
    Read::new(ObjectKind::EndpointSlice, &mut metadata, |mut metadata| {
        metadata.annotations = None;
        // A list that was read one by one has room for more than it has, and endpoints are what there is most of.
        for endpoint in &mut slice.endpoints {
            endpoint.addresses.shrink_to_fit();
            endpoint.deprecated_topology = None;
        }
        slice.endpoints.shrink_to_fit();
        Ok(Object::EndpointSlice(Arc::new(EndpointSlice { metadata, ..slice })))
    })
}

pub(super) fn node(mut node: PartialObjectMeta<Node>) -> Read {
    Read::new(ObjectKind::Node, &mut node.metadata, |metadata| Ok(Object::Node(Arc::new(metadata))))
}

pub(super) fn pod(mut pod: PartialObjectMeta<Pod>) -> Read {
    Read::new(ObjectKind::Pod, &mut pod.metadata, |metadata| Ok(Object::Pod(Arc::new(metadata))))
}

pub(super) fn config_map(mut config_map: ConfigMap) -> Read {
    Read::new(ObjectKind::ConfigMap, &mut config_map.metadata, |metadata| {
        let text = config_map.data.unwrap_or_default().into_keys().collect();
        let binary = config_map.binary_data.unwrap_or_default();
        let binary = binary.into_iter().map(|(key, bytes)| (key, bytes.0.into())).collect();
        Ok(Object::ConfigMap(Arc::new(policy::ConfigMap { metadata, text, binary })))
    })
}

/// Policies are read one by one: a single one that another version of the mesh has written, and that cannot be read, must not
/// hide all others.
pub(super) fn policy(mut written: DynamicObject) -> Read {
    Read::new(ObjectKind::LoadBalancingPolicy, &mut written.metadata, |metadata| {
        let mut value = written.data;
        value["metadata"] = serde_json::to_value(metadata).map_err(|error| error.to_string())?;
        let policy = serde_json::from_value(value).map_err(|error| {
            format!("cannot be read: {error}: is the CustomResourceDefinition that of another version of the mesh?")
        })?;
        Ok(Object::LoadBalancingPolicy(Arc::new(PolicyObject::new(policy))))
    })
}

/// The resource of policies.
pub(super) fn policy_resource() -> ApiResource {
    ApiResource::erase::<LoadBalancingPolicy>(&())
}

/// The metadata without what nobody reads.
fn trimmed(metadata: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { name, namespace, uid, generation, creation_timestamp, labels, mut annotations, .. } = metadata;
    if let Some(annotations) = &mut annotations {
        annotations.retain(|name, _| name.starts_with(OUR_ANNOTATIONS));
    }
    ObjectMeta { name, namespace, uid, generation, creation_timestamp, labels, annotations, ..ObjectMeta::default() }
}

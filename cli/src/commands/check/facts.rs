//! What is known of a cluster.

use std::time::SystemTime;

use k8s_openapi::{
    api::{
        admissionregistration::v1::MutatingWebhookConfiguration,
        apps::v1::Deployment,
        core::v1::{ConfigMap, LimitRange, Namespace, Pod, ResourceQuota, Secret},
        networking::v1::{NetworkPolicy, ServiceCIDR},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::core::DynamicObject;

/// What was found, or why it cannot be known.
pub(super) type Fetched<T> = Result<T, String>;

/// What is known of any cluster.
pub(super) struct ClusterFacts {
    /// As the API server says it: `v1.36.2`.
    pub(super) version: String,
    /// What whoever asks may do.
    pub(super) permissions: Vec<Permission>,
    /// `None` if the API server knows no such objects.
    pub(super) service_cidrs: Fetched<Option<Vec<ServiceCIDR>>>,
    pub(super) webhooks: Fetched<Vec<MutatingWebhookConfiguration>>,
    /// The names of all definitions of objects.
    pub(super) crd_names: Fetched<Vec<String>>,
    /// The configuration of Cilium.
    pub(super) cilium: Fetched<Option<ConfigMap>>,
    /// The configurations of Calico's agents; none if there is no Calico.
    pub(super) felix: Fetched<Vec<DynamicObject>>,
    pub(super) namespaces: Fetched<Vec<Namespace>>,
    pub(super) deployment: Fetched<Option<Deployment>>,
}

/// Something that whoever asks may do, or not.
pub(super) struct Permission {
    /// `create clusterroles.rbac.authorization.k8s.io`.
    pub(super) what: String,
    pub(super) is_allowed: Fetched<bool>,
}

/// What is known of an installation.
pub(super) struct MeshFacts {
    pub(super) now: SystemTime,
    pub(super) crd: Fetched<Option<CustomResourceDefinition>>,
    pub(super) secret: Fetched<Option<Secret>>,
    /// What has become of a pod that asks for the mesh and is not really made.
    pub(super) trial: Fetched<Pod>,
    /// The pods of the namespaces that ask for the mesh.
    pub(super) pods: Fetched<Vec<Pod>>,
    /// The policies of these namespaces.
    pub(super) network_policies: Fetched<Vec<NetworkPolicy>>,
    /// What these namespaces demand of containers.
    pub(super) limit_ranges: Fetched<Vec<LimitRange>>,
    /// What these namespaces may have.
    pub(super) quotas: Fetched<Vec<ResourceQuota>>,
}

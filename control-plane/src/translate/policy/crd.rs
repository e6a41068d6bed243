//! The CustomResourceDefinition of policies.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::spec::LoadBalancingPolicy;

/// How Gateway API finds policies that attach to what other objects describe (GEP-713).
const ATTACHMENT: (&str, &str) = ("gateway.networking.k8s.io/policy", "Direct");

/// What the API server is told of policies, as it stands in `deploy/crd.yaml`.
pub fn custom_resource_definition() -> CustomResourceDefinition {
    let mut crd = LoadBalancingPolicy::crd();
    let (label, value) = ATTACHMENT;
    crd.metadata.labels.get_or_insert_default().insert(label.to_owned(), value.to_owned());
    crd
}

//! From Kubernetes objects to a Service of the mesh: a pure function.
//!
//! The rules are those of docs/services.md; where a document and kube-proxy's code disagree, kube-proxy is followed.
//! Nothing is refused as a whole because a part is wrong: the wrong part is left out and named in a [`Problem`].

mod backend;
mod endpoints;
mod facts;
mod object;
pub mod policy;
mod port;
mod problem;
mod spec;

use std::collections::BTreeMap;

use k8s_openapi::api::{core::v1, discovery::v1::EndpointSlice};
use wasmesh_core::{name::ServiceName, service::Service};

use self::{backend::pod_of, endpoints::endpoint_set, policy::Attached, problem::Report, spec::service_spec};
pub use self::{
    facts::{Facts, PRIORITY, PodFacts, PodName, WEIGHT, Zones},
    object::{Object, ObjectKey, ObjectKind},
    problem::{Place, Problem},
};

/// The label by which a slice belongs to a Service; nothing else links them.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The annotation of a Service that names its policy.
pub const POLICY: &str = "wasmesh.io/policy";

/// Present on Services, and on their slices, that another proxy than kube-proxy serves.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Present on what must not be served by virtual address.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// The outcome of a translation.
#[derive(Debug, Clone)]
pub struct Translated {
    /// The Service; `None` if it is not ours or is beyond use.
    pub service: Option<Service>,
    /// What was left out.
    pub problems: Vec<Problem>,
}

/// Translates a Service with its slices, in whatever order they come, and the policies that ask for it.
pub fn translate<'a>(
    service: &v1::Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    facts: &Facts,
    policies: &Attached,
) -> Translated {
    if has_label(service.metadata.labels.as_ref(), PROXY_NAME) {
        return Translated { service: None, problems: Vec::new() };
    }
    let key = ObjectKey::of(ObjectKind::Service, &service.metadata);
    let name = ServiceName::new(&key.namespace, &key.name);
    let mut report = Report::on(key);
    let spec = match name {
        Ok(name) => service_spec(service, name, &mut report),
        Err(reason) => {
            report.add("metadata", reason.to_string());
            None
        }
    };
    let mut problems = report.into_problems();
    let service = spec.map(|mut spec| {
        policies.apply(&mut spec);
        let endpoints = endpoint_set(&spec, slices, facts, &policies.labels(&spec), &mut problems);
        Service::new(spec, endpoints)
    });
    Translated { service, problems }
}

/// The pods and the nodes whose facts bear on a slice: its pods, and the nodes of endpoints without a zone.
pub fn references(slice: &EndpointSlice) -> (Vec<PodName>, Vec<String>) {
    let pods = slice.endpoints.iter().filter_map(|endpoint| pod_of(slice, endpoint)).collect();
    let without_zone = slice.endpoints.iter().filter(|endpoint| endpoint.zone.as_deref().is_none_or(str::is_empty));
    (pods, without_zone.filter_map(|endpoint| endpoint.node_name.clone()).collect())
}

/// The Service that a slice belongs to, if it belongs to one.
pub fn service_of_slice(slice: &EndpointSlice) -> Option<ServiceName> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    ServiceName::new(slice.metadata.namespace.as_deref()?, name).ok()
}

fn has_label(labels: Option<&BTreeMap<String, String>>, name: &str) -> bool {
    labels.is_some_and(|labels| labels.contains_key(name))
}

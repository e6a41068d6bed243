//! What the control plane publishes: every Service with its endpoints, as one immutable value.

use std::sync::Arc;

use crate::{
    endpoint::{EndpointSet, EndpointsDelta, EndpointsDeltaError},
    name::ServiceName,
    name_map::NameMap,
    service::{Service, ServiceSpec},
    version::Versioned,
};

/// All Services at one moment. Cheap to clone.
pub type Snapshot = NameMap<Arc<Service>>;

/// What leads from one snapshot to another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotDelta {
    /// Services that are new or changed.
    pub changed: Vec<(ServiceName, ServiceDelta)>,
    /// Services that are gone.
    pub removed: Vec<ServiceName>,
}

/// What changed of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceDelta {
    /// The new declaration, if it changed.
    pub spec: Option<Versioned<ServiceSpec>>,
    /// The change of its endpoints, if they changed.
    pub endpoints: Option<EndpointsDelta>,
}

/// Why a delta does not fit a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The delta changes a Service without declaring it, and the snapshot does not have it.
    #[error("{0}: changed by the delta, but never declared")]
    Unknown(ServiceName),
    /// The endpoints do not fit.
    #[error("{0}: {1}")]
    Endpoints(ServiceName, EndpointsDeltaError),
}

/// Whether two Services have the same content.
pub fn same_service(a: &Arc<Service>, b: &Arc<Service>) -> bool {
    Arc::ptr_eq(a, b) || (a.spec.version == b.spec.version && a.endpoints.version() == b.endpoints.version())
}

/// What leads from `old` to `new`.
pub fn diff(old: &Snapshot, new: &Snapshot) -> SnapshotDelta {
    let mut delta = SnapshotDelta::default();
    for (name, before, now) in old.differences(new, same_service) {
        match now {
            Some(now) => delta.changed.push((name.clone(), service_delta(before.map(|b| &**b), now))),
            None => delta.removed.push(name.clone()),
        }
    }
    delta
}

fn service_delta(before: Option<&Service>, now: &Service) -> ServiceDelta {
    let Some(before) = before else {
        return ServiceDelta { spec: Some(now.spec.clone()), endpoints: Some(now.endpoints.as_replacement()) };
    };
    ServiceDelta {
        spec: (before.spec.version != now.spec.version).then(|| now.spec.clone()),
        endpoints: (before.endpoints.version() != now.endpoints.version())
            .then(|| now.endpoints.delta_from(&before.endpoints)),
    }
}

/// Applies a delta, all or nothing: `apply(diff(a, b), a) == b`.
///
/// # Errors
/// When the delta was made for another snapshot.
pub fn apply(delta: SnapshotDelta, snapshot: &Snapshot) -> Result<Snapshot, ApplyError> {
    let mut result = snapshot.clone();
    for name in &delta.removed {
        result.remove(name);
    }
    for (name, change) in delta.changed {
        let before = result.get(&name).cloned();
        let spec = change.spec.or_else(|| before.as_ref().map(|service| service.spec.clone()));
        let spec = spec.ok_or_else(|| ApplyError::Unknown(name.clone()))?;
        let held = before.as_ref().map(|service| &*service.endpoints);
        let endpoints = match change.endpoints {
            Some(delta) => EndpointSet::apply(held, delta).map_err(|e| ApplyError::Endpoints(name.clone(), e))?,
            None => held.cloned().unwrap_or_default(),
        };
        result.insert(name, Arc::new(Service::with_spec(spec, endpoints)));
    }
    Ok(result)
}

//! Connections to pods of Services, past the mesh, for people.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use wasmesh_core::name::ServiceName;

/// How many connections reached pods of each Service without the mesh having chosen them. Clones are the same.
#[derive(Clone, Default)]
pub struct PodConnections(Arc<Mutex<BTreeMap<ServiceName, u64>>>);

impl PodConnections {
    /// All of them.
    pub fn list(&self) -> BTreeMap<ServiceName, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts some more, and says whether they are the first ones of the Service.
    pub(super) fn add(&self, service: &ServiceName, connections: u64) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(service.clone()).or_default();
        *count += connections;
        *count == connections
    }

    /// Forgets Services that are no more.
    pub(super) fn retain(&self, is_there: impl Fn(&ServiceName) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|service, _| is_there(service));
    }
}

//! Connections to pods of Services, past the mesh, for people.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use wasmesh_core::name::ServiceName;

/// How a client may have come to the address of a pod, as far as the Services tell that the pod belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Every Service of the pod has virtual addresses, so somebody has chosen in place of the policy.
    ClusterIp,
    /// The Service has virtual addresses and another one of the pod is headless: likely by the name of that one.
    Either,
    /// The Service is headless: its name is its pods.
    Headless,
}

impl Way {
    /// As metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster-ip",
            Self::Either => "either",
            Self::Headless => "headless",
        }
    }
}

/// How many connections reached pods of a Service without the mesh having chosen them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reached {
    /// All of them.
    pub connections: u64,
    /// Those that have gone past its policy ([`Way::ClusterIp`]).
    pub past_policy: u64,
}

/// The same of each Service. Clones are the same.
#[derive(Clone, Default)]
pub struct PodConnections(Arc<Mutex<BTreeMap<ServiceName, Reached>>>);

impl PodConnections {
    /// All of them.
    pub fn list(&self) -> BTreeMap<ServiceName, Reached> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts some more, and says whether they are the first ones of the Service that came this way.
    pub(super) fn add(&self, service: &ServiceName, way: Way, connections: u64) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = counts.entry(service.clone()).or_default();
        let before = *reached;
        reached.connections += connections;
        if way != Way::ClusterIp {
            return before.connections == 0;
        }
        reached.past_policy += connections;
        before.past_policy == 0
    }

    /// Forgets Services that are no more.
    pub(super) fn retain(&self, is_there: impl Fn(&ServiceName) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|service, _| is_there(service));
    }
}

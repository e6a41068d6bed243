//! What the publisher finds out besides the snapshot: what is wrong, what has become of policies, which modules they name,
//! where nodes stand, whose addresses are.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use tokio::sync::watch;
use wasmesh_core::{name::ServiceName, name_map::Difference, owners::Owners, service::Service};

use crate::{
    afar::Afar,
    events,
    policies::{modules::Modules, trials::Trials},
    translate::{Problem, Zones, policy::PolicyStatus},
};

/// What goes out besides snapshots. Clones are the same.
#[derive(Clone, Default)]
pub struct Findings {
    /// What is wrong with objects.
    pub problems: Problems,
    /// What has become of policies.
    pub policies: PolicyStatuses,
    /// The modules that are named by what is published.
    pub modules: Modules,
    /// The candidates that are on trial.
    pub trials: Trials,
    /// What is wanted from afar, and what has come.
    pub afar: Afar,
    /// The zones of nodes.
    pub zones: NodeZones,
    /// Whose the addresses of endpoints are.
    pub owners: AddressOwners,
}

/// Whose the addresses of endpoints are, as it was published last.
#[derive(Clone, Default)]
pub struct AddressOwners(Arc<RwLock<Owners>>);

impl AddressOwners {
    /// Each of these addresses with the Services that have an endpoint there.
    pub fn of(&self, addresses: Vec<SocketAddr>) -> Vec<(SocketAddr, Vec<ServiceName>)> {
        let owners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        addresses.into_iter().map(|address| (address, owners.of(address))).collect()
    }

    /// Takes over what is published now and was not before.
    pub(crate) fn follow<'a>(&self, differences: impl Iterator<Item = Difference<'a, Arc<Service>>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).follow(differences);
    }
}

/// The zones of nodes, as they are now; a proxy stands in the one of its node.
#[derive(Clone, Default)]
pub struct NodeZones(Arc<watch::Sender<Arc<Zones>>>);

impl NodeZones {
    /// The zone of a node, if it is known.
    pub fn zone_of(&self, node: &str) -> Option<String> {
        self.0.borrow().get(node).cloned()
    }

    /// Tells when any of them has changed.
    pub fn follow(&self) -> watch::Receiver<Arc<Zones>> {
        self.0.subscribe()
    }

    pub(crate) fn replace(&self, now: Arc<Zones>) {
        // Whatever is published, nodes hardly ever stand elsewhere.
        self.0.send_if_modified(|before| {
            let has_changed = !Arc::ptr_eq(before, &now) && **before != *now;
            *before = now;
            has_changed
        });
    }
}

/// What is wrong with the objects as they are now; shown to people.
#[derive(Clone, Default)]
pub struct Problems(Arc<Mutex<Vec<Problem>>>);

impl Problems {
    /// All of them.
    pub fn list(&self) -> Vec<Problem> {
        self.lock().clone()
    }

    pub(crate) fn replace(&self, now: Vec<Problem>) {
        events::problems_changed(&self.list(), &now);
        *self.lock() = now;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Problem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has become of every policy, as it is now; shown to people.
#[derive(Clone, Default)]
pub struct PolicyStatuses(Arc<Mutex<Arc<Vec<PolicyStatus>>>>);

impl PolicyStatuses {
    /// All of them.
    pub fn list(&self) -> Arc<Vec<PolicyStatus>> {
        Arc::clone(&self.lock())
    }

    pub(crate) fn replace(&self, now: Vec<PolicyStatus>) {
        let before = self.list();
        if *before != now {
            events::policies_changed(&before, &now);
            *self.lock() = Arc::new(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Vec<PolicyStatus>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

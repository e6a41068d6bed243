//! What a proxy holds: the directory of all Services, and the endpoints of those it uses.
//!
//! A table is immutable; an update makes the next one aside. All changes of an update take effect together, so that
//! a virtual address that moves from one Service to another never belongs to both or to a stranger. An item that is
//! wrong is left out and named; the rest applies.

use std::{net::IpAddr, sync::Arc};

use crate::{
    checksum::{Checksums, HeldVersions},
    directory::{Directory, Entry},
    endpoint::{EndpointSet, EndpointsDelta, EndpointsDeltaError},
    name::ServiceName,
    name_map::{Difference, NameMap},
    version::{Version, Versioned},
};

/// What is held of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its directory entry.
    pub entry: Versioned<Entry>,
    /// Its endpoints, while they are subscribed.
    pub endpoints: Option<Arc<EndpointSet>>,
}

impl Held {
    /// The versions of what is held.
    pub fn versions(&self) -> HeldVersions {
        HeldVersions {
            entry: self.entry.version,
            endpoints: self.endpoints.as_ref().map(|endpoints| endpoints.version()),
        }
    }
}

/// A proxy's knowledge at one moment. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Table {
    held: NameMap<Held>,
    directory: Arc<Directory>,
    checksums: Checksums,
}

/// A change of one Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceChange {
    /// The Service.
    pub name: ServiceName,
    /// Its new directory entry, if that changed.
    pub entry: Option<Versioned<Entry>>,
    /// The change of its endpoints, if there is one.
    pub endpoints: Option<EndpointsDelta>,
}

/// An update: everything in it takes effect at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Services that are gone.
    pub removed: Vec<ServiceName>,
    /// Services that are new or changed.
    pub changed: Vec<ServiceChange>,
}

/// Why one item of an update was left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Endpoints or a change came for a Service that was never declared.
    #[error("the service was never declared")]
    Undeclared,
    /// The entry names another Service than the item.
    #[error("the entry is that of {0}")]
    WrongName(ServiceName),
    /// A virtual address belongs to another Service.
    #[error("address {vip} belongs to {owner}")]
    VipTaken {
        /// The address.
        vip: IpAddr,
        /// Who has it.
        owner: ServiceName,
    },
    /// The endpoints do not fit what is held; those that are held stay, the entry has been applied.
    #[error(transparent)]
    Endpoints(#[from] EndpointsDeltaError),
}

impl Table {
    /// What is held of a Service.
    pub fn get(&self, name: &ServiceName) -> Option<&Held> {
        self.held.get(name)
    }

    /// Everything that is held.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceName, &Held)> {
        self.held.iter()
    }

    /// What is held in one bucket of names.
    pub fn iter_bucket(&self, bucket: usize) -> impl Iterator<Item = (&ServiceName, &Held)> {
        self.held.iter_bucket(bucket)
    }

    /// How many Services are known.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no Service is known.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The Services of which `self` and `other` hold different things, and both of these.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Difference<'a, Held>> {
        self.held.differences(&other.held, |a, b| a.versions() == b.versions())
    }

    /// Services by virtual address.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Sums over all that is held.
    pub fn checksums(&self) -> &Checksums {
        &self.checksums
    }

    /// The table without the endpoints of these Services.
    pub fn without_endpoints<'a>(&self, names: impl IntoIterator<Item = &'a ServiceName>) -> Self {
        let mut next = self.clone();
        for name in names {
            if let Some(held) = self.held.get(name).filter(|held| held.endpoints.is_some()) {
                next.put(name.clone(), Held { endpoints: None, ..held.clone() });
            }
        }
        next
    }

    /// The next table, and the items that were left out with the reason for each.
    pub fn apply(&self, update: Update) -> (Self, Vec<(ServiceName, Rejection)>) {
        let mut next = self.clone();
        let mut rejected = Vec::new();
        // Everyone who goes or changes gives up their addresses before anyone claims one: a swap of two addresses
        // is then as good as any other change, in whatever order it arrives.
        for name in &update.removed {
            next.release_vips(name);
            next.forget(name);
        }
        for change in &update.changed {
            if let Some(entry) = &change.entry
                && next.get(&change.name).is_none_or(|held| held.entry.value.spec.vips() != entry.value.spec.vips())
            {
                next.release_vips(&change.name);
            }
        }
        for change in update.changed {
            let name = change.name.clone();
            if let Err(reason) = next.apply_one(change) {
                next.reclaim_vips(&name);
                rejected.push((name, reason));
            }
        }
        (next, rejected)
    }

    fn apply_one(&mut self, change: ServiceChange) -> Result<(), Rejection> {
        let held = self.held.get(&change.name);
        let entry = match (&change.entry, held) {
            (Some(entry), _) if entry.value.spec.name != change.name => {
                return Err(Rejection::WrongName(entry.value.spec.name.clone()));
            }
            (Some(entry), _) => entry.clone(),
            (None, Some(held)) => held.entry.clone(),
            (None, None) => return Err(Rejection::Undeclared),
        };
        if change.entry.is_some()
            && let Some((vip, owner)) = self.directory.conflict(&entry.value)
        {
            return Err(Rejection::VipTaken { vip, owner: owner.clone() });
        }
        let before = held.and_then(|held| held.endpoints.clone());
        // Endpoints that do not fit leave the old ones, but the entry applies all the same: whose address it is must
        // change together with everyone else's.
        let (endpoints, misfit) = match change.endpoints.map(|delta| EndpointSet::apply(before.as_deref(), delta)) {
            Some(Ok(endpoints)) => (Some(Arc::new(endpoints)), None),
            Some(Err(misfit)) => (before, Some(misfit)),
            None => (before, None),
        };
        if change.entry.is_some() {
            // Once more, because an earlier item of this update may have changed the same Service.
            self.release_vips(&change.name);
            Arc::make_mut(&mut self.directory).claim(&entry.value);
        }
        self.put(change.name, Held { entry, endpoints });
        misfit.map_or(Ok(()), |misfit| Err(misfit.into()))
    }

    fn put(&mut self, name: ServiceName, held: Held) {
        if let Some(before) = self.held.get(&name) {
            self.checksums.subtract(&name, &before.versions());
        }
        self.checksums.add(&name, &held.versions());
        self.held.insert(name, held);
    }

    fn forget(&mut self, name: &ServiceName) {
        if let Some(before) = self.held.remove(name) {
            self.checksums.subtract(name, &before.versions());
        }
    }

    fn release_vips(&mut self, name: &ServiceName) {
        if let Some(held) = self.held.get(name) {
            Arc::make_mut(&mut self.directory).release(&held.entry.value);
        }
    }

    /// A rejected change leaves the Service as it was; an address that somebody else has taken meanwhile stays theirs.
    fn reclaim_vips(&mut self, name: &ServiceName) {
        if let Some(held) = self.held.get(name) {
            Arc::make_mut(&mut self.directory).claim(&held.entry.value);
        }
    }
}

/// The version that a change leads to, for naming it in a verdict.
impl ServiceChange {
    /// The version of the entry it carries, if it carries one.
    pub fn entry_version(&self) -> Option<Version> {
        self.entry.as_ref().map(|entry| entry.version)
    }
}

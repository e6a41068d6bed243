//! What a proxy holds, as far as it has acknowledged.
//!
//! Kept as the snapshot it has acknowledged, shared with everyone else, plus the few Services where it holds something
//! else: so a thousand proxies cost a thousand references and not a thousand lists.

use std::collections::{BTreeMap, BTreeSet};

use wasmesh_core::{
    candidates::Viewpoint,
    checksum::{Checksums, HeldVersions},
    name::ServiceName,
    service::Service,
    snapshot::Snapshot,
};

#[derive(Default)]
pub(super) struct Ledger {
    viewpoint: Viewpoint,
    base: Snapshot,
    /// The Services whose endpoints it holds, in the version of `base`.
    delivered: BTreeSet<ServiceName>,
    /// Services of which it holds something else than `base` has; `None`: nothing.
    exceptions: BTreeMap<ServiceName, Option<HeldVersions>>,
    checksums: Checksums,
}

impl Ledger {
    /// A proxy that holds nothing.
    pub(super) fn empty(viewpoint: Viewpoint) -> Self {
        Self { viewpoint, ..Self::default() }
    }

    /// A proxy that holds all of `snapshot`, with endpoints where it is subscribed.
    pub(super) fn current(viewpoint: Viewpoint, snapshot: &Snapshot, subscriptions: &BTreeSet<ServiceName>) -> Self {
        let mut ledger = Self { viewpoint, base: snapshot.clone(), ..Self::default() };
        for (name, service) in snapshot.iter() {
            let subscribed = subscriptions.contains(name);
            if subscribed {
                ledger.delivered.insert(name.clone());
            }
            ledger.checksums.add(name, &ledger.versions(service, subscribed));
        }
        ledger
    }

    pub(super) fn viewpoint(&self) -> &Viewpoint {
        &self.viewpoint
    }

    /// The snapshot that most of what it holds is in.
    pub(super) fn base(&self) -> &Snapshot {
        &self.base
    }

    pub(super) fn checksums(&self) -> &Checksums {
        &self.checksums
    }

    /// Names under which it does not hold what `base` has.
    pub(super) fn exceptions(&self) -> impl Iterator<Item = &ServiceName> {
        self.exceptions.keys()
    }

    /// Names under which it does not hold the entry that `base` has.
    pub(super) fn other_entries(&self) -> impl Iterator<Item = ServiceName> {
        let differs = |(name, held): &(&ServiceName, &Option<HeldVersions>)| {
            let entry = self.base.get(name).map(|service| service.entry_version(&self.viewpoint));
            held.map(|held| held.entry) != entry
        };
        self.exceptions.iter().filter(differs).map(|(name, _)| name.clone())
    }

    /// What it holds of a Service.
    pub(super) fn held(&self, name: &ServiceName) -> Option<HeldVersions> {
        match self.exceptions.get(name) {
            Some(held) => *held,
            None => Some(self.versions(self.base.get(name)?, self.delivered.contains(name))),
        }
    }

    /// The versions of a Service for this proxy.
    pub(super) fn versions(&self, service: &Service, with_endpoints: bool) -> HeldVersions {
        HeldVersions {
            entry: service.entry_version(&self.viewpoint),
            endpoints: with_endpoints.then(|| service.endpoints.version()),
        }
    }

    /// Records what it holds of a Service.
    pub(super) fn set_held(&mut self, name: &ServiceName, now: Option<HeldVersions>) {
        self.correct_sum(name, now);
        self.note(name.clone(), now);
    }

    /// It has forgotten the endpoints of a Service.
    pub(super) fn forget_endpoints(&mut self, name: &ServiceName) {
        if let Some(held) = self.held(name) {
            self.correct_sum(name, Some(HeldVersions { endpoints: None, ..held }));
            self.delivered.remove(name);
            self.note(name.clone(), Some(HeldVersions { endpoints: None, ..held }));
        }
    }

    /// Makes `target` the base; of the Services in `held_now` it holds just that.
    pub(super) fn advance(&mut self, target: Snapshot, held_now: Vec<(ServiceName, Option<HeldVersions>)>) {
        // Sums are corrected against the old base, so before it goes.
        for (name, now) in &held_now {
            self.correct_sum(name, *now);
        }
        self.base = target;
        for (name, now) in held_now {
            match now {
                Some(HeldVersions { endpoints: Some(_), .. }) => self.delivered.insert(name.clone()),
                _ => self.delivered.remove(&name),
            };
            self.note(name, now);
        }
    }

    /// Makes `target` the base, which differs from the one before in nothing that concerns this proxy.
    pub(super) fn rebase(&mut self, target: &Snapshot) {
        self.base = target.clone();
    }

    fn correct_sum(&mut self, name: &ServiceName, now: Option<HeldVersions>) {
        if let Some(before) = self.held(name) {
            self.checksums.subtract(name, &before);
        }
        if let Some(now) = &now {
            self.checksums.add(name, now);
        }
    }

    fn note(&mut self, name: ServiceName, now: Option<HeldVersions>) {
        self.exceptions.remove(&name);
        if self.held(&name) != now {
            self.exceptions.insert(name, now);
        }
    }
}

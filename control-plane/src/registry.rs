//! The current objects, and the Services they amount to.
//!
//! A change recomputes the Services it touches and nothing else: a slice belongs to one Service, a pod or node to the
//! slices that mention it. Where the objects came from makes no difference here.

mod claims;
mod objects;
mod packed;
mod policies;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use wasmesh_core::{
    name::ServiceName,
    policy::Trial,
    service::{Service, ServiceKind, ServiceSpec},
    snapshot::{Snapshot, same_service},
};

use self::{
    claims::{Claim, Claims},
    objects::Objects,
};
use crate::{
    afar::{Fetched, Wanted, secrets::FolderSecrets},
    policies::trials::Aborts,
    translate::{
        self, Object, ObjectKey, ObjectKind, Place, Problem, Zones,
        policy::{Attached, Grants, Module, PolicyStatus, Target},
    },
};

/// A change of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum ObjectChange {
    /// The object is new or changed.
    Upsert(Object),
    /// The object is gone.
    Delete(ObjectKey),
}

/// All objects and what became of them.
#[derive(Debug, Default)]
pub struct Registry {
    objects: Objects,
    outcomes: HashMap<ServiceName, Outcome>,
    /// Those that have problems: few, as a rule.
    troubled: BTreeSet<ServiceName>,
    claims: Claims,
    snapshot: Snapshot,
}

/// What became of one Service.
#[derive(Debug, Default)]
struct Outcome {
    /// The Service with all the addresses it asks for.
    service: Option<Arc<Service>>,
    /// The policies that ask for it.
    policies: Attached,
    claim: Option<Claim>,
    problems: Vec<Problem>,
    /// The addresses that others have.
    conflicts: Vec<Problem>,
}

impl Registry {
    /// A registry without objects, whose policies may do what is allowed here.
    pub fn new(grants: Grants) -> Self {
        Self { objects: Objects::new(grants), ..Self::default() }
    }

    /// Takes changes in, all at once, and returns the names under which the snapshot differs.
    pub fn apply(&mut self, changes: Vec<ObjectChange>) -> BTreeSet<ServiceName> {
        let mut touched = BTreeSet::new();
        for change in changes {
            self.objects.apply(change, &mut touched);
        }
        self.bring_up_to_date(&touched)
    }

    /// Takes candidates back, and no others than these. Returns the names under which the snapshot differs.
    pub fn set_aborts(&mut self, aborts: Aborts) -> BTreeSet<ServiceName> {
        let mut touched = BTreeSet::new();
        self.objects.policies_mut().set_aborts(aborts, &mut touched);
        self.bring_up_to_date(&touched)
    }

    /// Takes over what is known of modules from afar. Returns the names under which the snapshot differs.
    pub fn set_fetched(&mut self, fetched: Fetched) -> BTreeSet<ServiceName> {
        let mut touched = BTreeSet::new();
        self.objects.policies_mut().set_fetched(fetched, &mut touched);
        self.bring_up_to_date(&touched)
    }

    fn bring_up_to_date(&mut self, touched: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
        let mut affected = touched.clone();
        for name in touched {
            self.translate(name, &mut affected);
        }
        affected.retain(|name| self.publish(name));
        affected
    }

    /// All Services at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// What has become of every policy.
    pub fn policies(&self) -> Vec<PolicyStatus> {
        self.objects.policies().statuses(|name| match self.outcomes.get(name) {
            Some(Outcome { service: Some(service), policies, .. }) => Target::Service(&service.spec.value, policies),
            Some(_) => Target::NotServed,
            None => Target::Missing,
        })
    }

    /// Every module that a policy names which is in effect.
    pub fn modules(&self) -> Vec<Module> {
        self.objects.policies().modules()
    }

    /// The candidates that policies declare, taken back or not.
    pub fn trials(&self) -> impl Iterator<Item = (&ObjectKey, &Trial)> {
        self.objects.policies().trials()
    }

    /// The modules from afar that policies name and may have.
    pub fn wanted(&self) -> Wanted {
        self.objects.policies().wanted()
    }

    /// The Secrets that the source has given.
    pub fn secrets(&self) -> FolderSecrets {
        self.objects.policies().secrets().clone()
    }

    /// The zones of nodes.
    pub fn zones(&self) -> Arc<Zones> {
        Arc::clone(self.objects.facts().zones())
    }

    /// What is wrong at this moment, in a stable order. A problem is gone once its object is mended.
    pub fn problems(&self) -> impl Iterator<Item = &Problem> {
        let troubled = self.troubled.iter().filter_map(|name| self.outcomes.get(name));
        let of_services = troubled.flat_map(|outcome| outcome.problems.iter().chain(&outcome.conflicts));
        // A pod behind two Services has its problem twice, and it is one.
        let all: BTreeSet<_> = self.objects.problems().chain(of_services).collect();
        all.into_iter()
    }

    /// Translates a Service anew. Those whose addresses may change hands with that join `affected`.
    fn translate(&mut self, name: &ServiceName, affected: &mut BTreeSet<ServiceName>) {
        let before = self.outcomes.remove(name).unwrap_or_default();
        let now = self.objects.service(name).map(|service| {
            let policies = self.objects.policies().attached(name);
            let slices = self.objects.slices(name);
            let translated = translate::translate(&service, &slices, self.objects.facts(), &policies);
            let held = before.service.clone();
            let now = translated.service.map(Arc::new);
            Outcome {
                service: now.map(|now| held.filter(|held| same_service(held, &now)).unwrap_or(now)),
                policies,
                claim: Some(Claim::new(name.clone(), service.metadata.creation_timestamp)),
                problems: translated.problems,
                conflicts: Vec::new(),
            }
        });
        let now = now.unwrap_or_default();
        if (vips(&before), &before.claim) != (vips(&now), &now.claim) {
            self.claims.replace(vips(&before), before.claim.as_ref(), vips(&now), now.claim.as_ref());
            let contested = vips(&before).iter().chain(vips(&now));
            affected.extend(contested.flat_map(|vip| self.claims.claimants(*vip)).cloned());
        }
        if now.claim.is_some() {
            self.outcomes.insert(name.clone(), now);
        }
    }

    /// Brings the snapshot up to date under one name, and tells whether that changed it.
    fn publish(&mut self, name: &ServiceName) -> bool {
        let Some(outcome) = self.outcomes.get_mut(name) else {
            self.troubled.remove(name);
            return self.snapshot.remove(name).is_some();
        };
        let lost: Vec<_> = match &outcome.service {
            Some(service) => self.claims.lost(name, service.spec.value.vips()).collect(),
            None => Vec::new(),
        };
        outcome.conflicts = lost.iter().map(|(vip, winner)| conflict(name, *vip, winner)).collect();
        if outcome.problems.is_empty() && outcome.conflicts.is_empty() {
            self.troubled.remove(name);
        } else {
            self.troubled.insert(name.clone());
        }
        let Some(service) = &outcome.service else {
            return self.snapshot.remove(name).is_some();
        };
        let service = if lost.is_empty() { Arc::clone(service) } else { Arc::new(without_vips(service, &lost)) };
        if self.snapshot.get(name).is_some_and(|published| same_service(published, &service)) {
            return false;
        }
        self.snapshot.insert(name.clone(), service);
        true
    }
}

fn vips(outcome: &Outcome) -> &[IpAddr] {
    outcome.service.as_ref().map_or(&[], |service| service.spec.value.vips())
}

fn without_vips(service: &Service, lost: &[(IpAddr, &ServiceName)]) -> Service {
    let spec = &service.spec.value;
    let kept = spec.vips().iter().copied().filter(|vip| lost.iter().all(|(lost, _)| lost != vip));
    let kind = ServiceKind::ClusterIp { vips: kept.collect() };
    Service::new(ServiceSpec { kind, ..(**spec).clone() }, (*service.endpoints).clone())
}

fn conflict(loser: &ServiceName, vip: IpAddr, winner: &ServiceName) -> Problem {
    let object =
        ObjectKey { kind: ObjectKind::Service, namespace: loser.namespace().into(), name: loser.name().into() };
    let reason = format!(
        "{vip} also belongs to Service {winner}, which is older or first by name: \
         Service {loser} is served without it, give one of the two another address"
    );
    Problem { object: Some(object), place: Place::Field("spec.clusterIPs".to_owned()), reason }
}

//! The objects, indexed by the Services they bear on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    hash::{BuildHasher, Hash, RandomState},
};

use k8s_openapi::{
    api::{core::v1, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use wasmesh_core::name::ServiceName;

use super::{ObjectChange, packed::Packed, policies::Policies};
use crate::translate::{
    Facts, Object, ObjectKey, ObjectKind, Place, PodName, Problem, policy::Grants, references, service_of_slice,
};

/// The objects as they are now.
#[derive(Debug, Default)]
pub(super) struct Objects {
    services: HashMap<ServiceName, Packed<v1::Service>>,
    /// In the order of their keys: few for each, and most often one.
    slices: HashMap<ServiceName, Vec<(ObjectKey, Packed<EndpointSlice>)>>,
    /// The Service of each slice that has one, to find the slice when it moves or goes.
    owners: HashMap<ObjectKey, ServiceName>,
    facts: Facts,
    by_pod: Mentions,
    by_node: Mentions,
    policies: Policies,
    /// Services whose very name is beyond use.
    misnamed: BTreeMap<ObjectKey, Problem>,
}

impl Objects {
    pub(super) fn new(grants: Grants) -> Self {
        Self { policies: Policies::new(grants), ..Self::default() }
    }

    pub(super) fn policies(&self) -> &Policies {
        &self.policies
    }

    pub(super) fn policies_mut(&mut self) -> &mut Policies {
        &mut self.policies
    }

    pub(super) fn service(&self, name: &ServiceName) -> Option<v1::Service> {
        self.services.get(name)?.unpack()
    }

    pub(super) fn slices(&self, name: &ServiceName) -> Vec<EndpointSlice> {
        self.slices.get(name).into_iter().flatten().filter_map(|(_, slice)| slice.unpack()).collect()
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.facts
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.misnamed.values()
    }

    /// Takes one change in. The Services it bears on join `touched`.
    pub(super) fn apply(&mut self, change: ObjectChange, touched: &mut BTreeSet<ServiceName>) {
        let (key, object) = match change {
            ObjectChange::Upsert(object) => (object.key(), Some(object)),
            ObjectChange::Delete(key) => (key, None),
        };
        match object {
            Some(Object::Service(service)) => self.set_service(key, Some(&service), touched),
            Some(Object::EndpointSlice(slice)) => self.set_slice(key, Some(&slice), touched),
            Some(Object::Pod(metadata)) => self.set_pod(&(key.namespace, key.name), Some(&metadata), touched),
            Some(Object::Node(metadata)) => self.set_node(&key.name, Some(&metadata), touched),
            Some(Object::LoadBalancingPolicy(policy)) => self.policies.set(&key, Some(policy), touched),
            Some(Object::Secret(secret)) => self.policies.set_secret(&key, Some(secret)),
            Some(Object::ConfigMap(config_map)) => self.policies.set_config_map(&key, Some(config_map), touched),
            None => match key.kind {
                ObjectKind::Service => self.set_service(key, None, touched),
                ObjectKind::EndpointSlice => self.set_slice(key, None, touched),
                ObjectKind::Pod => self.set_pod(&(key.namespace, key.name), None, touched),
                ObjectKind::Node => self.set_node(&key.name, None, touched),
                ObjectKind::LoadBalancingPolicy => self.policies.set(&key, None, touched),
                ObjectKind::Secret => self.policies.set_secret(&key, None),
                ObjectKind::ConfigMap => self.policies.set_config_map(&key, None, touched),
            },
        }
    }

    fn set_service(&mut self, key: ObjectKey, service: Option<&v1::Service>, touched: &mut BTreeSet<ServiceName>) {
        let name = match (ServiceName::new(&key.namespace, &key.name), &service) {
            (Ok(name), _) => name,
            (Err(reason), Some(_)) => {
                let place = Place::Field("metadata".to_owned());
                let problem = Problem { object: Some(key.clone()), place, reason: reason.to_string() };
                self.misnamed.insert(key, problem);
                return;
            }
            (Err(_), None) => {
                self.misnamed.remove(&key);
                return;
            }
        };
        match service.map(Packed::new) {
            Some(service) => self.services.insert(name.clone(), service),
            None => self.services.remove(&name),
        };
        touched.insert(name);
    }

    fn set_slice(&mut self, key: ObjectKey, slice: Option<&EndpointSlice>, touched: &mut BTreeSet<ServiceName>) {
        touched.extend(self.remove_slice(&key));
        let Some((owner, slice)) = slice.and_then(|slice| Some((service_of_slice(slice)?, slice))) else {
            return;
        };
        let (pods, nodes) = references(slice);
        self.by_pod.add(&pods, &owner);
        self.by_node.add(&nodes, &owner);
        let slices = self.slices.entry(owner.clone()).or_default();
        let at = slices.partition_point(|(other, _)| *other < key);
        slices.insert(at, (key.clone(), Packed::new(slice)));
        self.owners.insert(key, owner.clone());
        touched.insert(owner);
    }

    fn remove_slice(&mut self, key: &ObjectKey) -> Option<ServiceName> {
        let owner = self.owners.remove(key)?;
        let slices = self.slices.get_mut(&owner)?;
        let at = slices.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        let (_, slice) = slices.remove(at);
        if slices.is_empty() {
            self.slices.remove(&owner);
        }
        let (pods, nodes) = references(&slice.unpack()?);
        self.by_pod.remove(&pods, &owner);
        self.by_node.remove(&nodes, &owner);
        Some(owner)
    }

    fn set_pod(&mut self, name: &PodName, metadata: Option<&ObjectMeta>, touched: &mut BTreeSet<ServiceName>) {
        if self.facts.set_pod(name, metadata) {
            touched.extend(self.by_pod.services(name).cloned());
        }
    }

    fn set_node(&mut self, name: &str, metadata: Option<&ObjectMeta>, touched: &mut BTreeSet<ServiceName>) {
        if self.facts.set_node(name, metadata) {
            touched.extend(self.by_node.services(name).cloned());
        }
    }
}

/// Which Services mention a thing, and how often.
///
/// There are as many things as pods in the mesh. So they are known by their hashes alone: a Service of another thing with the same
/// hash is looked at in vain, which changes nothing.
#[derive(Debug, Default)]
struct Mentions {
    counts: BTreeMap<(u64, Option<ServiceName>), usize>,
    hasher: RandomState,
}

impl Mentions {
    fn services(&self, thing: &(impl Hash + ?Sized)) -> impl Iterator<Item = &ServiceName> {
        let hash = self.hasher.hash_one(thing);
        // Nothing is before None.
        let from = self.counts.range((hash, None)..);
        from.take_while(move |((other, _), _)| *other == hash).filter_map(|((_, service), _)| service.as_ref())
    }

    fn add(&mut self, things: &[impl Hash], service: &ServiceName) {
        for thing in things {
            *self.counts.entry(self.mention(thing, service)).or_default() += 1;
        }
    }

    fn remove(&mut self, things: &[impl Hash], service: &ServiceName) {
        for thing in things {
            if let Entry::Occupied(mut count) = self.counts.entry(self.mention(thing, service)) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }

    fn mention(&self, thing: &impl Hash, service: &ServiceName) -> (u64, Option<ServiceName>) {
        (self.hasher.hash_one(thing), Some(service.clone()))
    }
}

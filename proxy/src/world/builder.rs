//! Makes the next world from the last one and a new table, rebuilding only what changed.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicU64},
};

use wasmesh_core::{
    candidates::{Viewpoint, candidates},
    endpoint::{Endpoint, EndpointId, EndpointSet},
    load::EndpointLoad,
    policy::{Balancer, Candidate},
    service::{Family, ServiceSpec, Transport},
    table::{Held, Table},
};

use super::{LiveService, World};

/// The endpoints that a world no longer has as candidates.
///
/// Taken out of use after the world has been published: a worker that finds nothing left to pick in the world before then
/// finds the next one.
#[must_use = "until they are withdrawn they may still be picked"]
pub struct Leaving(Vec<Arc<EndpointLoad>>);

impl Leaving {
    /// From now on nobody picks them, whichever world they look at.
    pub fn withdraw(self) {
        self.0.iter().for_each(|load| load.withdraw());
    }
}

/// Builds worlds, one after the other.
pub struct WorldBuilder {
    viewpoint: Viewpoint,
    world: World,
}

impl WorldBuilder {
    /// Starts with an empty world, seen from `viewpoint`.
    pub fn new(viewpoint: Viewpoint) -> Self {
        Self { world: World { viewpoint: viewpoint.clone(), ..World::default() }, viewpoint }
    }

    /// The world as it is now.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// From the next world on, candidates are chosen from there.
    pub fn stand_at(&mut self, viewpoint: Viewpoint) {
        self.viewpoint = viewpoint;
    }

    /// The world that has `table`, and the endpoints to withdraw once it is published.
    pub fn advance(&mut self, table: Table, complete: bool, now_us: u64) -> (Arc<World>, Leaving) {
        let mut leaving = Vec::new();
        let mut live = self.world.live.clone();
        let has_moved = self.viewpoint != self.world.viewpoint;
        let before = &self.world.table;
        let is_unchanged = |name, held: &Held| before.get(name).is_some_and(|it| it.versions() == held.versions());
        // Whoever stands elsewhere has other candidates, of what has not changed as well.
        let all = has_moved.then(|| table.iter()).into_iter().flatten();
        let seen_anew = all.filter(|(name, held)| is_unchanged(name, held));
        let changed = before.differences(&table).map(|(name, _, held)| (name, held));
        for (name, held) in changed.chain(seen_anew.map(|(name, held)| (name, Some(held)))) {
            let before = live.get(name).cloned();
            match held.and_then(|held| Some((held, held.endpoints.as_ref()?))) {
                Some((held, endpoints)) => {
                    live.insert(
                        name.clone(),
                        Arc::new(self.build(held, endpoints, before.as_deref(), now_us, &mut leaving)),
                    );
                }
                None => {
                    live.remove(name);
                    leaving.extend(before.iter().flat_map(|service| &service.loads).map(|(_, load)| Arc::clone(load)));
                }
            }
        }
        let complete = self.world.complete || complete;
        let viewpoint = self.viewpoint.clone();
        self.world = World { table, live, complete, viewpoint, generation: self.world.generation + 1 };
        (Arc::new(self.world.clone()), Leaving(leaving))
    }

    fn build(
        &self,
        held: &Held,
        endpoints: &EndpointSet,
        before: Option<&LiveService>,
        now_us: u64,
        leaving: &mut Vec<Arc<EndpointLoad>>,
    ) -> LiveService {
        let mut known: HashMap<EndpointId, Arc<EndpointLoad>> =
            before.iter().flat_map(|service| service.loads.iter().cloned()).collect();
        let mut totals = before.map(|service| service.totals.clone()).unwrap_or_default();
        let mut load_of = |endpoint: &Endpoint| {
            let fresh = || {
                let total = totals.entry(endpoint.port.clone()).or_default();
                Arc::new(EndpointLoad::counting_towards(total))
            };
            (endpoint.id, known.remove(&endpoint.id).unwrap_or_else(fresh))
        };
        let loads: Vec<_> = endpoints.iter().map(|endpoint| load_of(endpoint)).collect();
        let spec = &held.entry.value.spec;
        let ports: Vec<_> = (0..spec.ports.len())
            .map(|port| [Family::V4, Family::V6].map(|family| self.balancer(spec, port, family, endpoints, &loads)))
            .collect();
        let candidates: Vec<&Candidate> =
            ports.iter().flatten().flatten().flat_map(|balancer| balancer.candidates().iter()).collect();
        let chosen: std::collections::HashSet<EndpointId> = candidates.iter().map(|c| c.endpoint.id).collect();
        leaving.extend(known.into_values());
        leaving.extend(loads.iter().filter(|(id, _)| !chosen.contains(id)).map(|(_, load)| Arc::clone(load)));
        // Those of a Service that is just being taken into use have been there for nobody knows how long.
        let since_us = before.map_or(0, |_| now_us);
        candidates.iter().for_each(|candidate| candidate.load.restore(since_us));
        let last_used_us =
            before.map_or_else(|| Arc::new(AtomicU64::new(now_us)), |service| Arc::clone(&service.last_used_us));
        let pins = before.map_or_else(Arc::default, |service| Arc::clone(&service.pins));
        let waiting = before.map_or_else(Arc::default, |service| Arc::clone(&service.waiting));
        LiveService { ports, loads, totals, pins, last_used_us, waiting }
    }

    fn balancer(
        &self,
        spec: &ServiceSpec,
        port: usize,
        family: Family,
        endpoints: &EndpointSet,
        loads: &[(EndpointId, Arc<EndpointLoad>)],
    ) -> Option<Arc<Balancer>> {
        let declared = spec.ports.get(port).filter(|declared| declared.transport == Transport::Tcp)?;
        let found = candidates(spec, port, family, endpoints, &self.viewpoint);
        if found.is_empty() {
            return None;
        }
        let candidates: Arc<[Candidate]> = found
            .into_iter()
            .filter_map(|endpoint| {
                let at = loads.binary_search_by_key(&endpoint.id, |(id, _)| *id).ok()?;
                Some(Candidate { load: Arc::clone(&loads[at].1), endpoint })
            })
            .collect();
        Some(Arc::new(Balancer::new(declared.policy.builtin(), candidates)))
    }
}

//! A cell: one worker's view of one Service port over one family, with everything that a pick needs at hand.

use std::{cell, collections::HashMap, rc::Rc, sync::Arc};

use wasmesh_core::{
    affinity::{Pin, first_choice},
    endpoint::{Endpoint, EndpointId},
    load::EndpointLoad,
    policy::{Balancer, PickRequest},
    service::{AppProtocol, ServicePort, ServiceSpec},
};
use wasmesh_telemetry::Metrics;

use super::CellKey;
use crate::{clock::now_us, http::Pool, service_metrics::ServiceMetrics};

/// The endpoints of a Service port and how to choose among them. Replaced as a whole when either changes.
pub struct Cell {
    key: CellKey,
    spec: Arc<ServiceSpec>,
    balancer: Arc<Balancer>,
    cursor: cell::Cell<u64>,
    /// One per candidate, in the balancer's order.
    slots: Box<[Rc<Slot>]>,
    metrics: Rc<ServiceMetrics>,
    affinity: Option<SessionAffinity>,
    /// Until when it is known that the servers of this port speak first.
    server_first_until_us: cell::Cell<u64>,
}

/// How requests stay on one endpoint.
pub(super) struct SessionAffinity {
    /// Where they are pinned, shared by all workers.
    pub(super) pin: Arc<Pin>,
    /// Who the client is.
    pub(super) client: u64,
    /// How long a pin lasts unused.
    pub(super) timeout_us: u64,
}

/// What is learned of who speaks first is forgotten after this long: another version of a server may differ.
const LEARNED_FOR_US: u64 = 600_000_000;

/// One worker's connections to one endpoint.
pub struct Slot {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its load, shared with all workers.
    pub load: Arc<EndpointLoad>,
    /// Idle connections to it.
    pub pool: Pool,
}

/// The endpoint that was chosen for a request. It counts as load from here on, until this is dropped: whoever picks next
/// sees it, even while it is still connecting.
pub struct Pick {
    /// The endpoint.
    pub slot: Rc<Slot>,
}

impl Pick {
    fn new(slot: Rc<Slot>) -> Self {
        slot.load.begin();
        Self { slot }
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.slot.load.end();
    }
}

impl Cell {
    /// The cell of a Service port. Of the one `before` it keeps the connections to endpoints that stay, and what was
    /// learned; `seed` is where round robin starts if there was none.
    pub(super) fn new(
        key: &CellKey,
        before: Option<&Self>,
        balancer: &Arc<Balancer>,
        spec: &Arc<ServiceSpec>,
        affinity: Option<SessionAffinity>,
        seed: u64,
        metrics: &Metrics,
    ) -> Self {
        let known: HashMap<EndpointId, &Rc<Slot>> =
            before.iter().flat_map(|before| &before.slots).map(|slot| (slot.endpoint.id, slot)).collect();
        let cursor = before.map_or(seed, |before| before.cursor.get()).into();
        let server_first_until_us = before.map_or(0, |before| before.server_first_until_us.get()).into();
        let slots = balancer.candidates().iter().map(|candidate| match known.get(&candidate.endpoint.id) {
            // The same endpoint may have changed in all but its address, and its load is the same object.
            Some(slot) if Arc::ptr_eq(&slot.load, &candidate.load) => Rc::clone(slot),
            _ => Rc::new(Slot {
                endpoint: Arc::clone(&candidate.endpoint),
                load: Arc::clone(&candidate.load),
                pool: Pool::default(),
            }),
        });
        let slots = slots.collect();
        let metrics = Rc::new(ServiceMetrics::new(spec, key.port, balancer.policy().name(), metrics));
        let (key, spec, balancer) = (key.clone(), Arc::clone(spec), Arc::clone(balancer));
        Self { key, spec, balancer, cursor, slots, metrics, affinity, server_first_until_us }
    }

    pub(super) fn key(&self) -> &CellKey {
        &self.key
    }

    pub(super) fn balancer(&self) -> &Arc<Balancer> {
        &self.balancer
    }

    /// The Service port, as it was when the cell was made.
    pub fn port(&self) -> Option<&ServicePort> {
        self.spec.ports.get(self.key.port)
    }

    /// Whether what is spoken is declared to be nothing to look into.
    pub fn is_opaque(&self) -> bool {
        self.port().is_some_and(|port| matches!(port.protocol, AppProtocol::Tls | AppProtocol::Tcp))
    }

    /// What is counted for it.
    pub fn metrics(&self) -> &Rc<ServiceMetrics> {
        &self.metrics
    }

    /// How many endpoints there are to choose from.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether the servers of this port are known to speak before their clients.
    pub fn server_speaks_first(&self) -> bool {
        self.server_first_until_us.get() > now_us()
    }

    /// A server of this port has spoken before its client.
    pub fn learn_that_server_speaks_first(&self) {
        self.server_first_until_us.set(now_us() + LEARNED_FOR_US);
    }

    /// Who could be picked.
    pub fn endpoint_ids(&self) -> impl Iterator<Item = EndpointId> {
        self.slots.iter().map(|slot| slot.endpoint.id)
    }

    /// Chooses an endpoint, other than those on which the same request has failed; `None` when there is none.
    pub fn pick(&self, key: u64, random: u64, failed: &[EndpointId], is_first: bool) -> Option<Pick> {
        let now = now_us();
        let place = |id: &EndpointId| self.slots.iter().position(|slot| slot.endpoint.id == *id);
        let avoid: Vec<usize> = failed.iter().filter_map(place).collect();
        let pinned = self.affinity.as_ref().and_then(|affinity| self.pinned(affinity, now));
        let index = match pinned.filter(|index| !avoid.contains(index)) {
            Some(index) => index,
            None => self.balancer.pick(&self.cursor, &PickRequest { random, key, now_us: now, avoid: &avoid })?,
        };
        let slot = Rc::clone(&self.slots[index]);
        if let Some(affinity) = &self.affinity {
            affinity.pin.set(slot.endpoint.id, now);
        }
        self.metrics.picked(is_first);
        Some(Pick::new(slot))
    }

    /// Where affinity wants a request to go, if that endpoint is there and has not been ejected.
    fn pinned(&self, affinity: &SessionAffinity, now_us: u64) -> Option<usize> {
        let index = match affinity.pin.current(affinity.timeout_us, now_us) {
            Some(id) => self.slots.iter().position(|slot| slot.endpoint.id == id)?,
            None if affinity.pin.is_fresh() => first_choice(affinity.client, self.balancer.candidates())?,
            None => return None,
        };
        let load = &self.slots[index].load;
        (!load.is_withdrawn() && !load.health().is_ejected(now_us)).then_some(index)
    }
}

//! A cell: one worker's view of one Service port over one family, with everything that a pick needs at hand.

use std::{cell, collections::HashMap, rc::Rc, sync::Arc};

use wasmesh_core::{
    endpoint::{Endpoint, EndpointId},
    load::EndpointLoad,
    policy::{Balancer, PickRequest},
    service::{ServicePort, ServiceSpec},
};
use wasmesh_telemetry::Metrics;

use crate::{clock::now_us, events::ServiceMetrics, http::Pool};

/// The endpoints of a Service port and how to choose among them. Replaced as a whole when either changes.
pub struct Cell {
    spec: Arc<ServiceSpec>,
    port: usize,
    balancer: Arc<Balancer>,
    cursor: cell::Cell<u64>,
    /// One per candidate, in the balancer's order.
    slots: Box<[Rc<Slot>]>,
    metrics: Rc<ServiceMetrics>,
}

/// One worker's connections to one endpoint.
pub struct Slot {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its load, shared with all workers.
    pub load: Arc<EndpointLoad>,
    /// Idle connections to it.
    pub pool: Pool,
}

/// The endpoint that was chosen for a request.
pub struct Pick {
    /// Its place in the cell.
    pub index: usize,
    /// The endpoint.
    pub slot: Rc<Slot>,
}

impl Cell {
    /// A new cell; `seed` is where round robin starts.
    pub(super) fn new(
        balancer: &Arc<Balancer>,
        spec: &Arc<ServiceSpec>,
        port: usize,
        seed: u64,
        metrics: &Metrics,
    ) -> Self {
        Self::build(balancer, spec, port, seed, &HashMap::new(), metrics)
    }

    /// The cell for a new balancer. Connections to endpoints that stay are kept.
    pub(super) fn rebuilt(
        before: &Self,
        balancer: &Arc<Balancer>,
        spec: &Arc<ServiceSpec>,
        port: usize,
        metrics: &Metrics,
    ) -> Self {
        let slots = before.slots.iter().map(|slot| (slot.endpoint.id, Rc::clone(slot))).collect();
        Self::build(balancer, spec, port, before.cursor.get(), &slots, metrics)
    }

    fn build(
        balancer: &Arc<Balancer>,
        spec: &Arc<ServiceSpec>,
        port: usize,
        cursor: u64,
        known: &HashMap<EndpointId, Rc<Slot>>,
        metrics: &Metrics,
    ) -> Self {
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
        let metrics = Rc::new(ServiceMetrics::new(spec, port, balancer.policy().name(), metrics));
        Self { spec: Arc::clone(spec), port, balancer: Arc::clone(balancer), cursor: cursor.into(), slots, metrics }
    }

    pub(super) fn balancer(&self) -> &Arc<Balancer> {
        &self.balancer
    }

    /// The Service port, as it was when the cell was made.
    pub fn port(&self) -> Option<&ServicePort> {
        self.spec.ports.get(self.port)
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

    /// Chooses an endpoint that has not been tried yet; `None` when there is none left.
    pub fn pick(&self, key: u64, random: u64, tried: &[usize]) -> Option<Pick> {
        let request = PickRequest { random, key, now_us: now_us(), avoid: tried.last().copied() };
        let choice = self.balancer.pick(&self.cursor, &request)?;
        // The policy avoids the last one only; whoever failed before that must not get the request either.
        let usable = |index: &usize| !tried.contains(index) && !self.slots[*index].load.is_withdrawn();
        let index = (choice..self.slots.len()).chain(0..choice).find(usable)?;
        self.metrics.picked(tried.is_empty());
        Some(Pick { index, slot: Rc::clone(&self.slots[index]) })
    }
}

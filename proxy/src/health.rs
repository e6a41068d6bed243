//! Takes note of how endpoints do, and says so when one is ejected.

use std::rc::Rc;

use wasmesh_core::ejection::EjectionRule;

use crate::{
    clock::now_us,
    events,
    worker::{Slot, Worker},
};

/// Passes what happened to an endpoint on to its health.
#[derive(Clone)]
pub struct Verdicts {
    rule: EjectionRule,
    worker: Rc<Worker>,
}

impl Verdicts {
    /// By the worker's rule.
    pub fn of(worker: &Rc<Worker>) -> Self {
        Self { rule: worker.config.ejection, worker: Rc::clone(worker) }
    }

    /// A request or connection failed because of the endpoint.
    pub fn failed(&self, slot: &Slot) {
        if slot.load.health().failed(&self.rule, now_us(), self.worker.random()) {
            events::ejected(slot.endpoint.address);
        }
    }

    /// The endpoint could not be reached, or broke off without an answer. To the policies that go by latency that is a very
    /// slow answer; without a sample a dead endpoint would look like the fastest of all.
    pub fn unreachable(&self, slot: &Slot) {
        let penalty = self.worker.config.connect_timeout.as_micros();
        slot.load.observe(u64::try_from(penalty).unwrap_or(u64::MAX), now_us());
        self.failed(slot);
    }

    /// A request or connection went well.
    pub fn succeeded(&self, slot: &Slot) {
        slot.load.health().succeeded(&self.rule, now_us());
    }
}

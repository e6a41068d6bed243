//! The endpoints that one request or connection is tried on.

use std::rc::Rc;

use wasmesh_core::endpoint::EndpointId;

use super::{Cell, Pick, Routed, Worker};
use crate::destination::Destination;

/// How many endpoints one request or connection is tried on. With more than this many dead ones the rest is for ejection to
/// mend, not for one unlucky client to find out.
const MAX_ATTEMPTS: usize = 5;

/// Hands out endpoints, each of the newest world: what was taken away meanwhile is not tried, what was added is.
pub struct Attempts<'a> {
    worker: &'a Rc<Worker>,
    destination: &'a Destination,
    cell: Rc<Cell>,
    key: u64,
    excluded: Vec<EndpointId>,
    made: usize,
}

impl<'a> Attempts<'a> {
    /// Attempts at a Service port, hashed by `key` where its policy hashes.
    pub fn new(worker: &'a Rc<Worker>, destination: &'a Destination, cell: &Rc<Cell>, key: u64) -> Self {
        Self { worker, destination, cell: Rc::clone(cell), key, excluded: Vec::new(), made: 0 }
    }

    /// The next endpoint to try; `None` when there is no other, or enough have been tried.
    pub async fn next(&mut self) -> Option<Pick> {
        if self.made == MAX_ATTEMPTS {
            return None;
        }
        let pick = match self.pick() {
            Some(pick) => pick,
            None => {
                self.route_anew().await?;
                self.pick()?
            }
        };
        self.made += 1;
        Some(pick)
    }

    fn pick(&mut self) -> Option<Pick> {
        self.cell = self.worker.newest(&self.cell);
        self.cell.pick(self.key, self.worker.random(), &self.excluded, self.made == 0)
    }

    /// Nothing is left to choose: the Service may have been given up as unused, or replaced, a moment ago.
    async fn route_anew(&mut self) -> Option<()> {
        match self.worker.route(self.destination).await {
            Routed::Mesh(cell) if !Rc::ptr_eq(&cell, &self.cell) => self.cell = cell,
            Routed::Mesh(_) | Routed::Passthrough(_) | Routed::Refused(_) | Routed::NotYet => return None,
        }
        Some(())
    }

    /// Does not try this one again.
    pub fn exclude(&mut self, pick: &Pick) {
        self.excluded.push(pick.slot.endpoint.id);
    }

    fn has_other_than(&self, pick: &Pick) -> bool {
        let id = pick.slot.endpoint.id;
        self.cell.endpoint_ids().any(|other| other != id && !self.excluded.contains(&other))
    }

    /// Does not try this one again, unless it is the only one left: what happened there may pass.
    pub fn avoid(&mut self, pick: &Pick) {
        if self.has_other_than(pick) {
            self.exclude(pick);
        }
    }

    /// How many attempts were made.
    pub fn made(&self) -> usize {
        self.made
    }

    /// The Service port, as it is now.
    pub fn cell(&self) -> &Rc<Cell> {
        &self.cell
    }
}

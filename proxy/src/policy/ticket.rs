//! Follows one request to its end, for policies that want to know how it went.

use std::{cell::Cell, rc::Rc, sync::Arc};

use wasmesh_core::endpoint::EndpointId;
use wasmesh_policy_host::{Outcome, Report};

use super::{
    record::{Record, Role},
    seat::Seat,
};
use crate::clock::now_us;

/// A request that a policy has chosen an endpoint for. When it is dropped the policy is told.
pub struct Ticket {
    seat: Rc<Seat>,
    role: Role,
    record: Arc<Record>,
    endpoint: EndpointId,
    tag: u64,
    started_us: Cell<u64>,
    first_byte_us: Cell<Option<u64>>,
    status: Cell<u32>,
    /// `None`: nothing has been said, so whoever asked went away.
    outcome: Cell<Option<Outcome>>,
    forgotten: Cell<bool>,
}

impl Ticket {
    /// From now on.
    pub fn new(seat: &Rc<Seat>, role: Role, record: Arc<Record>, endpoint: EndpointId, tag: u64) -> Self {
        Self {
            seat: Rc::clone(seat),
            role,
            record,
            endpoint,
            tag,
            started_us: now_us().into(),
            first_byte_us: Cell::default(),
            status: Cell::default(),
            outcome: Cell::default(),
            forgotten: Cell::default(),
        }
    }

    /// Whose it is, and what comes back in the report.
    pub fn of(&self) -> (Role, u64) {
        (self.role, self.tag)
    }

    /// The request is sent now: what took time before was not the endpoint.
    pub fn sent(&self) {
        self.started_us.set(now_us());
    }

    /// The endpoint has answered, with this status; 0 for what is not HTTP.
    pub fn answered(&self, status: u16) {
        self.first_byte_us.set(Some(now_us()));
        self.status.set(status.into());
    }

    /// What it says in the end is another status than in the beginning.
    pub fn says(&self, status: u32) {
        self.status.set(status);
    }

    /// Nothing is to be told of it after all.
    pub fn forget(&self) {
        self.forgotten.set(true);
    }

    /// It has ended.
    pub fn ended(&self, outcome: Outcome) {
        self.outcome.set(Some(outcome));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.forgotten.get() {
            return;
        }
        let now = now_us();
        let since = |at: u64| u32::try_from(at.saturating_sub(self.started_us.get())).unwrap_or(u32::MAX);
        let report = Report {
            endpoint_id: self.endpoint.0,
            tag: self.tag,
            first_byte_us: self.first_byte_us.get().map_or(0, since),
            total_us: since(now),
            status: self.status.get(),
            outcome: self.outcome.get().unwrap_or(Outcome { cancelled: true, ..Outcome::default() }),
            now_ms: now / 1_000,
        };
        self.seat.keep_report(self.role, &self.record, report);
    }
}

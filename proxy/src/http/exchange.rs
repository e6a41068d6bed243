//! One request on its way to one endpoint: counted as load from the pick to the end of the response, however it ends.

use std::rc::Rc;

use super::pool::Connection;
use crate::{
    clock::now_us,
    events::ServiceMetrics,
    worker::{Cell, Slot},
};

/// A request that an endpoint is working on. Its load ends when this is dropped.
pub struct Exchange {
    slot: Rc<Slot>,
    metrics: Rc<ServiceMetrics>,
    started_us: u64,
    status: u16,
    connection: Option<Connection>,
}

impl Exchange {
    /// Begins: the endpoint's in-flight count rises. `started_us` is when the request came in.
    pub(super) fn begin(cell: &Cell, slot: &Rc<Slot>, started_us: u64) -> Self {
        slot.load.begin();
        Self { slot: Rc::clone(slot), metrics: Rc::clone(cell.metrics()), started_us, status: 0, connection: None }
    }

    /// The head of the response is here. `connection` is given back to the pool when the body has ended.
    pub(super) fn answered(&mut self, status: u16, sent_us: u64, connection: Connection) {
        let now = now_us();
        self.slot.load.observe(now.saturating_sub(sent_us), now);
        self.status = status;
        self.connection = Some(connection);
    }

    /// The body has ended as it should.
    pub(super) fn completed(mut self) {
        if let Some(connection) = self.connection.take() {
            self.slot.pool.give_back(connection);
        }
    }

    /// The endpoint broke off in the middle of the body; the connection is of no further use.
    pub(super) fn broke(self) {
        self.metrics.response_broken();
    }

    /// The client went away before the body ended; closing the connection tells the endpoint.
    pub(super) fn abandoned(self) {
        self.metrics.response_abandoned();
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.slot.load.end();
        if self.status != 0 {
            self.metrics.responded(self.status, now_us().saturating_sub(self.started_us));
        }
    }
}

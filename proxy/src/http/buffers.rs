//! What a worker holds of bodies in all.

use std::rc::Rc;

use super::{replay_budget::ReplayBudget, unread::Unread};

/// Each of these has the same room.
pub struct Buffers {
    /// Bodies of responses that clients do not take.
    pub(super) responses: Rc<Unread>,
    /// Bodies of requests that endpoints do not take.
    pub(super) requests: Rc<Unread>,
    /// Bodies of requests that may have to be sent again.
    pub(super) replays: Rc<ReplayBudget>,
}

impl Buffers {
    /// With room for so many bytes of each.
    pub fn new(bytes: usize) -> Self {
        let unread = || Rc::new(Unread::new(bytes));
        Self { responses: unread(), requests: unread(), replays: Rc::new(ReplayBudget::new(bytes)) }
    }
}

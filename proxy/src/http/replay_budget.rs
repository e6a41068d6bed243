//! How much of request bodies is remembered in all, so that they can be sent again.

use std::{cell::Cell, rc::Rc};

/// What a worker may remember.
pub(super) struct ReplayBudget {
    limit: usize,
    used: Cell<usize>,
}

/// What one request uses of it, until it is dropped.
pub(super) struct Share {
    budget: Rc<ReplayBudget>,
    bytes: usize,
}

impl ReplayBudget {
    /// So many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: Cell::new(0) }
    }

    /// Nothing so far.
    pub(super) fn share(self: &Rc<Self>) -> Share {
        Share { budget: Rc::clone(self), bytes: 0 }
    }
}

impl Share {
    /// What is remembered of this request. It counts in any case.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts so many bytes more. Whether there is room for them.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let used = self.budget.used.get() + bytes;
        self.budget.used.set(used);
        used <= self.budget.limit
    }

    /// Nothing is remembered any more.
    pub(super) fn clear(&mut self) {
        self.budget.used.set(self.budget.used.get() - std::mem::take(&mut self.bytes));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_requests_share_one_budget() {
        let budget = Rc::new(ReplayBudget::new(100));
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.grow(60) && other.grow(40));
        assert!(!one.grow(1));
        drop(one);
        assert!(other.grow(60));
        other.clear();
        assert_eq!(budget.used.get(), 0);
    }
}

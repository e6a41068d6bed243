//! How much memory all instances of a host have together.
//!
//! The cap of an instance bounds one. A sidecar has one for each worker and Service port, and its container has one limit for
//! all of them: the kernel would end it with every request that is under way.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left for instances. Shared by all of them.
#[derive(Debug)]
pub(crate) struct MemoryPool {
    cap: usize,
    used: AtomicUsize,
}

impl MemoryPool {
    pub(crate) fn new(cap: usize) -> Self {
        Self { cap, used: AtomicUsize::new(0) }
    }

    /// Takes so many bytes, if they are there.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let taken = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.cap);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let pool = MemoryPool::new(100);
        assert!(pool.take(60) && !pool.take(41) && pool.take(40) && !pool.take(1) && pool.take(0));
        pool.give_back(60);
        assert!(pool.take(60) && !pool.take(usize::MAX));
    }
}

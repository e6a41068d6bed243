//! A hash ring.
use crate::policy::members::Members;

#[derive(Debug)]
pub(super) struct RingHash {
    len: u64,
}

impl RingHash {
    pub(super) fn new(members: &Members, _identities: &[u64]) -> Self {
        Self { len: members.len() as u64 }
    }

    pub(super) fn choose(&self, key: u64) -> usize {
        (key % self.len) as usize
    }
}

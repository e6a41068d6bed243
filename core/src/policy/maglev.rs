//! A Maglev table.
use crate::policy::members::Members;

#[derive(Debug)]
pub(super) struct Maglev {
    len: u64,
}

impl Maglev {
    pub(super) fn new(members: &Members, _identities: &[u64]) -> Self {
        Self { len: members.len() as u64 }
    }

    pub(super) fn choose(&self, key: u64) -> usize {
        (key % self.len) as usize
    }
}

//! Which endpoints make a tenant's shard.

use wasmesh_policy::random::{below, mix};

/// The most endpoints that a shard may have.
pub(crate) const MAX_SIZE: usize = 8;

/// Indexes by falling rank, and the ranks; on the stack, because a pick should not allocate.
pub(crate) struct Shard {
    members: [(u64, u32); MAX_SIZE],
    len: usize,
}

impl Shard {
    /// The up to `size` endpoints that rank highest for the tenant, among those that `keep` says.
    pub(crate) fn of(tenant: u64, ids: &[u64], size: usize, keep: impl Fn(u32) -> bool) -> Self {
        let mut shard = Self { members: [(0, 0); MAX_SIZE], len: 0 };
        for (id, index) in ids.iter().zip(0..) {
            let rank = mix(tenant ^ id);
            if (shard.len < size || rank > shard.members[shard.len - 1].0) && keep(index) {
                shard.insert(rank, index, size);
            }
        }
        shard
    }

    /// Who ranks highest.
    pub(crate) fn first(&self) -> Option<u32> {
        self.members[..self.len].first().map(|(_, index)| *index)
    }

    /// All of them, round from a place that the random number says.
    pub(crate) fn from(&self, random: u64) -> impl Iterator<Item = u32> {
        let (before, after) = self.members[..self.len].split_at(below(random, self.len as u64) as usize);
        after.iter().chain(before).map(|(_, index)| *index)
    }

    fn insert(&mut self, rank: u64, index: u32, size: usize) {
        let place = self.members[..self.len].partition_point(|(other, _)| *other >= rank);
        self.len = (self.len + 1).min(size);
        self.members[place..self.len].rotate_right(1);
        self.members[place] = (rank, index);
    }
}

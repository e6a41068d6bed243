//! Which endpoints make a tenant's shard.

use wasmesh_policy::random::mix;

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
        self.iter().next()
    }

    /// All of them, by falling rank.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.members[..self.len].iter().map(|(_, index)| *index)
    }

    fn insert(&mut self, rank: u64, index: u32, size: usize) {
        let place = self.members[..self.len].partition_point(|(other, _)| *other >= rank);
        self.len = (self.len + 1).min(size);
        self.members[place..self.len].rotate_right(1);
        self.members[place] = (rank, index);
    }
}

#[cfg(test)]
mod tests {
    use super::Shard;
    use wasmesh_policy::random::mix;

    fn ids(count: u64) -> Vec<u64> {
        (0..count).map(mix).collect()
    }

    fn members(tenant: u64, ids: &[u64], size: usize) -> Vec<u32> {
        let mut members: Vec<_> = Shard::of(tenant, ids, size, |_| true).iter().collect();
        members.sort_unstable();
        members
    }

    #[test]
    fn a_shard_is_the_highest_ranks() {
        let ids = ids(50);
        for tenant in (0..100).map(mix) {
            let mut all: Vec<u32> = (0..50).collect();
            all.sort_unstable_by_key(|index| std::cmp::Reverse(mix(tenant ^ ids[*index as usize])));
            let shard = Shard::of(tenant, &ids, 4, |_| true);
            assert_eq!(shard.first(), Some(all[0]));
            assert_eq!(shard.iter().collect::<Vec<_>>(), all[..4]);
        }
    }

    #[test]
    fn an_endpoint_that_leaves_is_replaced_in_its_own_shards_only() {
        let ids = ids(20);
        for tenant in (0..200).map(mix) {
            let (before, after) = (members(tenant, &ids, 3), members(tenant, &ids[..19], 3));
            let kept = before.iter().filter(|index| after.contains(index)).count();
            assert_eq!(kept, if before.contains(&19) { 2 } else { 3 });
        }
    }

    #[test]
    fn tenants_hardly_ever_share_all_of_their_endpoints() {
        let ids = ids(20);
        let first = members(mix(1), &ids, 3);
        let same = (2..1_000).map(mix).filter(|tenant| members(*tenant, &ids, 3) == first).count();
        assert!(same < 10, "{same} of 1140 shards are this one");
    }

    #[test]
    fn a_short_list_is_a_short_shard() {
        assert_eq!(members(7, &ids(1), 8), [0]);
        assert_eq!(Shard::of(7, &[], 2, |_| true).iter().count(), 0);
        assert_eq!(Shard::of(7, &[], 2, |_| true).first(), None);
    }
}

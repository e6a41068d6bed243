//! The shards of tenants that were here lately.
//!
//! To find a shard, all endpoints are ranked: microseconds with a thousand of them, on the way of every request. So a shard
//! that has been found is kept until the list changes. There is room for a thousand tenants and no more, because an instance's
//! memory is copied with every list, and so that made-up tenants cost time but no memory.

use wasmesh_policy::random::below;

use crate::shard::Shard;

/// A tenant can be kept in so many places. With one, two busy tenants of the same place would be ranked in turn for ever.
const WAYS: usize = 4;

/// How many groups of such places there are; a tenant belongs to one of them.
const SETS: usize = 256;

/// Shards of one size over one list of endpoints.
pub(crate) struct Lately {
    ids: Vec<u64>,
    /// How many endpoints a shard has; all of them where there are no more than that.
    size: usize,
    /// Whose shard is kept at each place.
    tenants: Box<[Option<u64>]>,
    /// The shards of all places, one after the other, by falling rank.
    members: Box<[u32]>,
}

impl Lately {
    /// For shards of that size; no endpoint yet.
    pub(crate) fn new(size: usize) -> Self {
        let places = SETS * WAYS;
        Self { ids: Vec::new(), size, tenants: vec![None; places].into(), members: vec![0; places * size].into() }
    }

    /// Other endpoints from now on: every shard has to be found again.
    pub(crate) fn set_endpoints(&mut self, ids: Vec<u64>) {
        self.ids = ids;
        self.tenants.fill(None);
    }

    /// The endpoints of the list.
    pub(crate) fn ids(&self) -> &[u64] {
        &self.ids
    }

    /// The tenant's shard by falling rank. The random number says whom to forget for it, if need be.
    pub(crate) fn shard(&mut self, tenant: u64, random: u64) -> &[u32] {
        let set = tenant as usize % SETS * WAYS;
        let known = (set..set + WAYS).find(|place| self.tenants[*place] == Some(tenant));
        let place = known.unwrap_or_else(|| self.find(tenant, set + below(random, WAYS as u64) as usize));
        let start = place * self.size;
        &self.members[start..start + self.size.min(self.ids.len())]
    }

    #[cold]
    fn find(&mut self, tenant: u64, place: usize) -> usize {
        let shard = Shard::of(tenant, &self.ids, self.size, |_| true);
        for (kept, index) in self.members[place * self.size..].iter_mut().zip(shard.iter()) {
            *kept = index;
        }
        self.tenants[place] = Some(tenant);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::{Lately, SETS, Shard, WAYS};
    use wasmesh_policy::random::mix;

    /// Every shard is the one that ranking would find, in whatever order tenants come.
    #[track_caller]
    fn check(lately: &mut Lately, ids: &[u64], tenants: impl Iterator<Item = u64>) {
        lately.set_endpoints(ids.to_vec());
        for (tenant, random) in tenants.zip((0..).map(mix)) {
            let expected: Vec<_> = Shard::of(tenant, ids, lately.size, |_| true).iter().collect();
            assert_eq!(lately.shard(tenant, random), expected, "{tenant}");
        }
    }

    #[test]
    fn a_shard_that_is_kept_is_the_one_that_would_be_found() {
        let ids: Vec<_> = (0..30).map(mix).collect();
        for size in 1..=8 {
            let mut lately = Lately::new(size);
            check(&mut lately, &ids, (0..20_000).map(|number| mix(mix(number) % 3_000)));
            // Few enough to be kept, but of the same sets.
            check(&mut lately, &ids[..20], (0..100).map(|number| number % WAYS as u64 * SETS as u64));
            check(&mut lately, &ids[5..], (0..100).map(|number| number % 7 * SETS as u64));
            check(&mut lately, &ids[..size - 1], (0..100).map(|number| number % 10));
            check(&mut lately, &[], 0..10);
        }
    }
}

//! Consistent hashing on a ring, as Ketama does it (libketama, 2007) and Envoy's `ring_hash` after it.
//!
//! Each member owns many points of a ring of 64-bit numbers; a key belongs to the owner of the first point at or after
//! it. A member that goes takes its points along, so that only its own keys move.

use xxhash_rust::xxh3::xxh3_64;

use crate::policy::{identity::Identities, members::Members};

/// Points of a member of mean weight. Shares then differ by about 1/sqrt(512), 4 %; a ring of two members has 1024.
///
/// A constant rather than a fixed size of the ring: points that come and go because *others* come and go would move
/// keys that have nothing to do with the change.
const POINTS_PER_MEMBER: u64 = 512;

/// About the largest ring, reached with 64 members; more members have fewer points each. It takes 384 KiB.
const MAX_POINTS: u64 = 32_768;

#[derive(Debug)]
pub(super) struct RingHash {
    /// Ascending.
    points: Box<[u64]>,
    /// The position that owns each point.
    owners: Box<[u32]>,
}

impl RingHash {
    pub(super) fn new(members: &Members, identities: &Identities) -> Self {
        let len = members.len() as u64;
        let total: u64 = (0..members.len()).map(|position| members.weight(position)).sum();
        let budget = (POINTS_PER_MEMBER * len).min(MAX_POINTS);
        let mut ring = Vec::with_capacity((budget + len) as usize);
        for position in identities.ordered(members) {
            // At least one: a member with any weight at all owns something.
            let share = (budget * members.weight(position) + total / 2) / total;
            ring.extend((0..share.max(1)).map(|replica| (point(identities.get(position), replica), position as u32)));
        }
        // Stable, so that of two equal points the order of identities decides and not that of the list.
        ring.sort_by_key(|(point, _)| *point);
        let (points, owners): (Vec<_>, Vec<_>) = ring.into_iter().unzip();
        Self { points: points.into(), owners: owners.into() }
    }

    pub(super) fn choose(&self, key: u64) -> usize {
        let after = self.points.partition_point(|point| *point < key);
        let at = if after == self.points.len() { 0 } else { after };
        self.owners[at] as usize
    }
}

fn point(identity: u64, replica: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&identity.to_le_bytes());
    bytes[8..].copy_from_slice(&replica.to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::test_support::{Random, assert_shares, members};

    fn ring(weights: &[u32]) -> RingHash {
        let members = members(weights);
        RingHash::new(&members, &Identities::of(&members))
    }

    #[test]
    fn two_members_already_fill_a_ring_of_1024() {
        assert_eq!(ring(&[1, 1]).points.len(), 1024);
        assert!(ring(&[1; 300]).points.len() <= MAX_POINTS as usize + 300);
        assert!(ring(&[u32::MAX; 300]).points.len() <= MAX_POINTS as usize + 300);
    }

    #[test]
    fn shares_follow_the_weights() {
        let ring = ring(&[1, 2, 3, 0]);
        let mut random = Random(31);
        let mut counts = [0; 4];
        for _ in 0..100_000 {
            counts[ring.choose(random.next())] += 1;
        }
        assert_shares(&counts, &[1.0, 2.0, 3.0, 1.0], 0.25);
    }

    #[test]
    fn the_lightest_member_owns_a_point() {
        let ring = ring(&[1, u32::MAX]);
        assert!(ring.owners.contains(&0));
    }

    #[test]
    fn the_ring_closes() {
        let ring = ring(&[1, 1, 1]);
        let owner_of_first = ring.owners[0] as usize;
        assert_eq!(ring.choose(0), owner_of_first);
        assert_eq!(ring.choose(u64::MAX), owner_of_first);
        assert_eq!(ring.choose(ring.points[5]), ring.owners[5] as usize);
    }
}

//! Consistent hashing on a ring, as Ketama does it (libketama, 2007): a key stays on its endpoint.
//!
//! Each endpoint owns many points of a ring of 64-bit numbers; a key belongs to the owner of the first point at or after
//! it. An endpoint that goes takes its points along, so that only its own keys move.

use crate::{Endpoint, Request, Traits, hash::xxh3, levels::Chooser, members::Members, random::mix};

/// Points of an endpoint of mean weight. Shares then differ by about 1/sqrt(512), 4 %.
const POINTS_PER_MEMBER: u64 = 512;

/// About the largest ring, reached with 64 endpoints; more have fewer points each.
const MAX_POINTS: u64 = 32_768;

/// The ring of one priority. As a [`Chooser`] it goes by the plan's first key.
#[derive(Debug)]
pub struct Ring {
    /// By point.
    points: Box<[Point]>,
    /// For each value of the upper bits of a key, how many points have lower ones: where to begin looking. Points are
    /// spread evenly, so there is about one per value.
    starts: Box<[u32]>,
    /// How far to shift a key for its upper bits.
    shift: u32,
    /// By position: the hash of the address, which is the same text on every proxy.
    identities: Box<[u64]>,
}

#[derive(Debug)]
struct Point {
    at: u64,
    /// The position that owns it.
    owner: u32,
    /// The owner's place in an order that does not depend on the list's; of two equal points the lower comes first.
    rank: u32,
}

impl Chooser for Ring {
    fn new(members: &Members, endpoints: &[Endpoint]) -> Self {
        let endpoint = |position| &endpoints[members.index(position) as usize];
        let identities: Box<[u64]> =
            (0..members.len()).map(|position| xxh3(endpoint(position).address.as_bytes())).collect();
        let mut order: Vec<_> = (0..members.len()).collect();
        order.sort_unstable_by_key(|position| (identities[*position], endpoint(*position).id));

        let total: u64 = (0..members.len()).map(|position| u64::from(members.weight(position))).sum();
        let budget = (POINTS_PER_MEMBER * members.len() as u64).min(MAX_POINTS);
        let mut points = Vec::with_capacity(budget as usize + members.len());
        for (rank, position) in (0..).zip(order) {
            // At least one: whoever has any weight at all owns something.
            let share = ((budget * u64::from(members.weight(position)) + total / 2) / total).max(1);
            let point = |replica| Point { at: place(identities[position], replica), owner: position as u32, rank };
            points.extend((0..share).map(point));
        }
        points.sort_unstable_by_key(|point| (point.at, point.rank));
        let bits = points.len().ilog2().max(1);
        let shift = u64::BITS - bits;
        let mut starts = Vec::with_capacity(1 << bits);
        for (index, point) in (0..).zip(&points) {
            // For each value above that of the point before, up to its own.
            let values = (point.at >> shift) as usize + 1;
            starts.resize(values.max(starts.len()), index);
        }
        starts.resize(1 << bits, points.len() as u32);
        Self { points: points.into(), starts: starts.into(), shift, identities }
    }

    fn choose(&self, members: &Members, request: &Request, _cursor: &mut u64) -> Result<usize, usize> {
        let position = self.home(key(request));
        if members.is_usable(position, request) { Ok(position) } else { Err(position) }
    }

    /// The usable one of the highest rank. So a key keeps its stand-in too.
    fn stand_in(&self, members: &Members, request: &Request) -> Option<usize> {
        let usable = (0..members.len()).filter(|position| members.is_usable(*position, request));
        usable.max_by_key(|position| self.rank(key(request), *position))
    }
}

impl Ring {
    /// Whom a key belongs to.
    #[inline]
    pub fn home(&self, key: u64) -> usize {
        let start = self.starts[(key >> self.shift) as usize] as usize;
        // Behind the last point the ring begins anew.
        let owner = self.points[start..].iter().find(|point| point.at >= key).unwrap_or(&self.points[0]);
        owner.owner as usize
    }

    /// Whose points follow on a key, round the ring; most occur more than once.
    pub fn owners_from(&self, key: u64) -> impl Iterator<Item = usize> {
        let start = self.points.partition_point(|point| point.at < key);
        let (before, after) = self.points.split_at(start);
        after.iter().chain(before).map(|point| point.owner as usize)
    }

    /// In what order others stand in for a key's home, the highest first: the hash of key and identity together, which is
    /// rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998). The order is
    /// another one for each key, so that it is not one neighbour on the ring who inherits all of an endpoint's keys.
    pub fn rank(&self, key: u64, position: usize) -> u64 {
        mix(key ^ self.identities[position])
    }
}

/// Requests without the key are spread at random, or all of them would land on one endpoint.
fn key(request: &Request) -> u64 {
    if request.traits.contains(Traits::KEY0) { request.key0 } else { request.random }
}

fn place(identity: u64, replica: u64) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&identity.to_le_bytes());
    bytes[8..].copy_from_slice(&replica.to_le_bytes());
    xxh3(&bytes)
}

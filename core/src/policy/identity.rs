//! What members are to the hash policies: their addresses, whatever their places in the list.
//!
//! An address is the same text on every proxy, so that all proxies send a key to the same endpoint.

use xxhash_rust::xxh3::xxh3_64;

use crate::policy::{PickRequest, draw::mix, members::Members};

/// The hash of each member's address, by position.
#[derive(Debug)]
pub(super) struct Identities(Box<[u64]>);

impl Identities {
    pub(super) fn of(members: &Members) -> Self {
        let identity = |position| xxh3_64(members.endpoint(position).address.to_string().as_bytes());
        Self((0..members.len()).map(identity).collect())
    }

    pub(super) fn get(&self, position: usize) -> u64 {
        self.0[position]
    }

    /// All positions in an order that does not depend on the list's.
    pub(super) fn ordered(&self, members: &Members) -> Vec<usize> {
        let mut positions: Vec<_> = (0..self.0.len()).collect();
        positions.sort_by_key(|position| (self.0[*position], members.endpoint(*position).id));
        positions
    }

    /// The usable member with the highest hash of key and identity together: rendezvous hashing (Thaler and
    /// Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998).
    ///
    /// It stands in for the member that the key belongs to: always the same one for a key, spread evenly over keys,
    /// and without a table of its own. It looks at every member, which only the exception pays for.
    pub(super) fn stand_in(&self, members: &Members, request: &PickRequest<'_>) -> Option<usize> {
        let usable = (0..self.0.len()).filter(|position| members.is_usable(*position, request));
        usable.max_by_key(|position| mix(request.key ^ self.0[*position]))
    }
}

//! Where passed-through connections went, until somebody looks.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// How many different addresses are noted between two looks; connections to others are only counted.
const MAX_ADDRESSES: usize = 1024;

/// Passed-through connections since somebody last looked. Shared by all workers; clones are the same.
#[derive(Clone, Default)]
pub struct Sightings(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Held for a look into a map, once for a connection that has just been opened, which takes a hundred times as long.
    seen: Mutex<Seen>,
    first: Notify,
}

/// What was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Connections by where they went.
    pub(super) connections: HashMap<SocketAddr, u64>,
    /// Connections to addresses that there was no room for.
    pub(super) elsewhere: u64,
}

impl Sightings {
    /// A connection to this address was opened for a client that had chosen it.
    pub fn note(&self, address: SocketAddr) {
        // The same place, however the system words it.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let mut seen = self.lock();
        let is_first = seen.connections.is_empty();
        let has_room = seen.connections.len() < MAX_ADDRESSES;
        match seen.connections.get_mut(&address) {
            Some(connections) => *connections += 1,
            None if has_room => {
                seen.connections.insert(address, 1);
            }
            None => seen.elsewhere += 1,
        }
        drop(seen);
        if is_first {
            self.0.first.notify_one();
        }
    }

    /// Waits until there are some. May end once too often.
    pub(super) async fn come(&self) {
        self.0.first.notified().await;
    }

    /// All there are; from now on others are noted.
    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_added_up_by_where_they_went() {
        let sightings = Sightings::default();
        for address in ["10.0.0.1:80", "10.0.0.1:81", "[::ffff:10.0.0.1]:80"] {
            sightings.note(address.parse().unwrap());
        }
        let seen = sightings.take();
        assert_eq!(seen.connections[&"10.0.0.1:80".parse().unwrap()], 2);
        assert_eq!((seen.connections.len(), seen.elsewhere), (2, 0));
        assert_eq!(sightings.take(), Seen::default());
    }

    #[test]
    fn a_flood_of_addresses_takes_no_memory_and_none_of_its_connections_is_lost() {
        let sightings = Sightings::default();
        for number in 0..10_000_u32 {
            sightings.note(SocketAddr::from((number.to_be_bytes(), 80)));
        }
        let seen = sightings.take();
        assert_eq!(seen.connections.len(), MAX_ADDRESSES);
        assert_eq!(seen.connections.values().sum::<u64>() + seen.elsewhere, 10_000);
    }
}

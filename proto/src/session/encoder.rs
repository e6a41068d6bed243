//! Encodes each change once, however many proxies it goes to.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use wasmesh_core::{name::ServiceName, table::ServiceChange, version::Version};

use crate::convert::encode_body;

/// How many bytes of encoded changes are kept. Past that the cache starts anew: what it saves is the work of proxies that
/// ask for the same change at about the same time, and those follow each other closely.
const BUDGET: usize = 64 * 1024 * 1024;

/// The bytes of a change depend on nothing but these.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    name: ServiceName,
    entry: Option<Version>,
    endpoints: Option<(Option<Version>, Version)>,
}

/// A shared cache of encoded changes.
#[derive(Default)]
pub struct Encoder {
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    bodies: HashMap<Key, Bytes>,
    bytes: usize,
}

impl Encoder {
    /// The encoded body of a change.
    pub fn body(&self, change: &ServiceChange) -> Bytes {
        let key = Key {
            name: change.name.clone(),
            entry: change.entry.as_ref().map(|entry| entry.version),
            endpoints: change.endpoints.as_ref().map(|delta| (delta.base, delta.version)),
        };
        if let Some(body) = self.lock().bodies.get(&key) {
            return body.clone();
        }
        // Encoded outside the lock; two sessions that race make equal bytes.
        let body = encode_body(change);
        self.lock().keep(key, body.clone(), BUDGET);
        body
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // A panic elsewhere cannot leave more behind than a wrong sum.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn keep(&mut self, key: Key, body: Bytes, budget: usize) {
        let cost = cost(&key, &body);
        if cost > budget {
            return;
        }
        if self.bytes + cost > budget {
            *self = Self::default();
        }
        // If a session that raced has kept the same, it is there already.
        if self.bodies.insert(key, body).is_none() {
            self.bytes += cost;
        }
    }
}

/// Bytes that an entry takes, about.
fn cost(key: &Key, body: &Bytes) -> usize {
    size_of::<(Key, Bytes)>() + key.name.as_str().len() + body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        let name = "shop/web".parse().unwrap();
        Key { name, entry: Some(Version(number)), endpoints: None }
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let (mut cache, body) = (Cache::default(), Bytes::from(vec![0; 1_000]));
        let one = cost(&key(0), &body);
        for number in 0..100 {
            cache.keep(key(number), body.clone(), 10 * one);
            let kept: usize = cache.bodies.iter().map(|(key, body)| cost(key, body)).sum();
            assert_eq!(cache.bytes, kept);
            assert_eq!(kept, (number as usize % 10 + 1) * one);
        }
    }

    #[test]
    fn a_change_that_two_sessions_encode_counts_once() {
        let mut cache = Cache::default();
        for _ in 0..2 {
            cache.keep(key(1), Bytes::from_static(b"body"), BUDGET);
        }
        assert_eq!(cache.bytes, cost(&key(1), &Bytes::from_static(b"body")));
    }

    #[test]
    fn a_change_beyond_the_budget_does_not_empty_the_cache() {
        let mut cache = Cache::default();
        cache.keep(key(1), Bytes::new(), 1_000);
        cache.keep(key(2), Bytes::from(vec![0; 2_000]), 1_000);
        assert_eq!(cache.bodies.len(), 1);
    }
}

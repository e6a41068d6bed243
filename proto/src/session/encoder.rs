//! Encodes each change once, however many proxies it goes to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use wasmesh_core::{name::ServiceName, table::ServiceChange, version::Version};

use crate::convert::encode_body;

/// How many encoded changes are kept. Past that the cache starts anew: what it saves is the work of proxies that ask
/// for the same change at about the same time, and those follow each other closely.
const CAPACITY: usize = 16 * 1024;

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
    bodies: Mutex<HashMap<Key, Bytes>>,
}

impl Encoder {
    /// The encoded body of a change.
    pub fn body(&self, change: &ServiceChange) -> Bytes {
        let key = Key {
            name: change.name.clone(),
            entry: change.entry.as_ref().map(|entry| entry.version),
            endpoints: change.endpoints.as_ref().map(|delta| (delta.base, delta.version)),
        };
        // A panic elsewhere cannot leave a half-made map behind: values are inserted whole.
        if let Some(body) = self.bodies.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return body.clone();
        }
        // Encoded outside the lock; two sessions that race make equal bytes.
        let body = encode_body(change);
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        if bodies.len() >= CAPACITY {
            bodies.clear();
        }
        bodies.insert(key, body.clone());
        body
    }
}

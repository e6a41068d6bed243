//! Checksums over what a proxy holds, by which a reconnect and a divergence are recognised.
//!
//! Each bucket of names has one 64-bit sum over its items. Sums are wrapping additions of item hashes, so an item
//! can be added and taken away without looking at the others; they detect accidents, not attackers.

use crate::{
    name::ServiceName,
    name_map::{BUCKETS, bucket_of},
    version::{Canonical, CanonicalWriter, Version},
};

/// Which versions of one Service a proxy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldVersions {
    /// Version of its directory entry.
    pub entry: Version,
    /// Version of its endpoints; `None` while they are not subscribed.
    pub endpoints: Option<Version>,
}

impl HeldVersions {
    fn hash_with(&self, name: &ServiceName) -> u64 {
        let mut writer = CanonicalWriter::default();
        name.write(&mut writer);
        writer.number(self.entry.0);
        match self.endpoints {
            None => writer.number(0u64),
            Some(version) => {
                writer.number(1u64);
                writer.number(version.0);
            }
        }
        writer.finish()
    }
}

/// One sum per bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    buckets: Box<[u64; BUCKETS]>,
}

impl Default for Checksums {
    fn default() -> Self {
        Self { buckets: Box::new([0; BUCKETS]) }
    }
}

impl Checksums {
    /// Checksums as they were received; `None` unless there are exactly [`BUCKETS`].
    pub fn from_slice(buckets: &[u64]) -> Option<Self> {
        Some(Self { buckets: Box::new(buckets.try_into().ok()?) })
    }

    /// Adds an item.
    pub fn add(&mut self, name: &ServiceName, held: &HeldVersions) {
        let sum = &mut self.buckets[bucket_of(name)];
        *sum = sum.wrapping_add(held.hash_with(name));
    }

    /// Takes away an item that was added before.
    pub fn subtract(&mut self, name: &ServiceName, held: &HeldVersions) {
        let sum = &mut self.buckets[bucket_of(name)];
        *sum = sum.wrapping_sub(held.hash_with(name));
    }

    /// One number for all buckets.
    pub fn total(&self) -> u64 {
        let mut writer = CanonicalWriter::default();
        writer.numbers(&*self.buckets);
        writer.finish()
    }

    /// The sums.
    pub fn as_slice(&self) -> &[u64] {
        &*self.buckets
    }

    /// The buckets in which two sides differ.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        (0..BUCKETS).filter(|&bucket| self.buckets[bucket] != other.buckets[bucket]).collect()
    }
}

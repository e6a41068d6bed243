//! A persistent map from Service names to values.
//!
//! A clone is one reference count; a change copies one bucket and the list of buckets; two versions of a map are
//! compared by skipping the buckets they share. So a snapshot per change is affordable, and finding what differs
//! between two snapshots costs what has changed and not what there is.
//!
//! The buckets are also the unit in which a reconnecting proxy says what it holds, see [`crate::checksum`].

use std::{collections::BTreeMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::name::ServiceName;

/// How many buckets a map has. Part of the wire contract: both sides must sort names into the same buckets.
pub const BUCKETS: usize = 256;

/// The bucket of a name, below [`BUCKETS`]: the low byte of the XXH3-64 of `namespace/name`.
pub fn bucket_of(name: &ServiceName) -> usize {
    (xxh3_64(name.as_str().as_bytes()) & 0xff) as usize
}

type Bucket<V> = BTreeMap<ServiceName, V>;

/// A persistent map from Service names to `V`.
#[derive(Debug)]
pub struct NameMap<V> {
    buckets: Arc<Vec<Arc<Bucket<V>>>>,
}

impl<V> Clone for NameMap<V> {
    fn clone(&self) -> Self {
        Self { buckets: Arc::clone(&self.buckets) }
    }
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        let empty = Arc::new(Bucket::new());
        Self { buckets: Arc::new(vec![empty; BUCKETS]) }
    }
}

impl<V: PartialEq> PartialEq for NameMap<V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buckets, &other.buckets)
            || self.buckets.iter().zip(other.buckets.iter()).all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
    }
}

impl<V> NameMap<V> {
    /// The value under a name.
    pub fn get(&self, name: &ServiceName) -> Option<&V> {
        self.buckets[bucket_of(name)].get(name)
    }

    /// Whether both are the same value in memory, so certainly equal. Equal maps made apart are not.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.buckets, &other.buckets)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.len()).sum()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.is_empty())
    }

    /// All entries, bucket by bucket.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceName, &V)> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }

    /// The entries of one bucket; none for a number that is not below [`BUCKETS`].
    pub fn iter_bucket(&self, bucket: usize) -> impl Iterator<Item = (&ServiceName, &V)> {
        self.buckets.get(bucket).into_iter().flat_map(|bucket| bucket.iter())
    }

    /// The names under which `self` and `other` differ, and both values. Buckets they share are skipped unseen.
    pub fn differences<'a>(
        &'a self,
        other: &'a Self,
        same: impl Fn(&V, &V) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = Difference<'a, V>> {
        let pairs = self.buckets.iter().zip(other.buckets.iter());
        pairs.filter(|(a, b)| !Arc::ptr_eq(a, b)).flat_map(move |(a, b)| {
            let left = a.iter().filter_map(move |(name, value)| match b.get(name) {
                Some(now) if same(value, now) => None,
                now => Some((name, Some(value), now)),
            });
            let right = b.iter().filter(|(name, _)| !a.contains_key(*name)).map(|(name, now)| (name, None, Some(now)));
            left.chain(right)
        })
    }
}

/// A name whose value differs: the name, the value before and the value now.
pub type Difference<'a, V> = (&'a ServiceName, Option<&'a V>, Option<&'a V>);

impl<V: Clone> NameMap<V> {
    /// Puts a value under a name and returns the one that was there.
    pub fn insert(&mut self, name: ServiceName, value: V) -> Option<V> {
        self.bucket_mut(&name).insert(name, value)
    }

    /// Takes the value under a name away.
    pub fn remove(&mut self, name: &ServiceName) -> Option<V> {
        // A miss must not copy the bucket: that would make equal maps look different.
        self.get(name)?;
        self.bucket_mut(name).remove(name)
    }

    fn bucket_mut(&mut self, name: &ServiceName) -> &mut Bucket<V> {
        let buckets = Arc::make_mut(&mut self.buckets);
        Arc::make_mut(&mut buckets[bucket_of(name)])
    }
}

impl<V: Clone> FromIterator<(ServiceName, V)> for NameMap<V> {
    fn from_iter<I: IntoIterator<Item = (ServiceName, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        for (name, value) in entries {
            map.insert(name, value);
        }
        map
    }
}

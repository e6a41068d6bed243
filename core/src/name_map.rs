//! A persistent map from Service names to values.
//!
//! A clone is one reference count; a change copies one bucket and the two short lists on the way to it; two versions of a
//! map are compared by skipping what they share. So a snapshot per change is affordable, and finding what differs
//! between two snapshots costs what has changed and not what there is.
//!
//! The buckets are also the unit in which a reconnecting proxy says what it holds, see [`crate::checksum`].

use std::{array, cmp::Ordering, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::name::ServiceName;

/// How many buckets a map has. Part of the wire contract: both sides must sort names into the same buckets.
pub const BUCKETS: usize = 256;

/// The bucket of a name, below [`BUCKETS`]: the low byte of the XXH3-64 of `namespace/name`.
pub fn bucket_of(name: &ServiceName) -> usize {
    (xxh3_64(name.as_str().as_bytes()) & 0xff) as usize
}

/// Buckets hang on branches: to copy one list of all of them would be most of what a change costs.
const BRANCHES: usize = 16;
const BUCKETS_OF_A_BRANCH: usize = BUCKETS / BRANCHES;

/// Shared by the versions of a map that have the same under this name.
type Entry<V> = Arc<(ServiceName, V)>;
/// Ordered by name.
type Bucket<V> = Vec<Entry<V>>;
type Branch<V> = [Arc<Bucket<V>>; BUCKETS_OF_A_BRANCH];
type Root<V> = [Arc<Branch<V>>; BRANCHES];

/// A persistent map from Service names to `V`.
#[derive(Debug)]
pub struct NameMap<V> {
    root: Arc<Root<V>>,
}

impl<V> Clone for NameMap<V> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root) }
    }
}

impl<V> Default for NameMap<V> {
    fn default() -> Self {
        let bucket = Arc::new(Bucket::new());
        let branch = Arc::new(array::from_fn(|_| Arc::clone(&bucket)));
        Self { root: Arc::new(array::from_fn(|_| Arc::clone(&branch))) }
    }
}

impl<V: PartialEq> PartialEq for NameMap<V> {
    fn eq(&self, other: &Self) -> bool {
        self.unshared(other).all(|(a, b)| a == b)
    }
}

impl<V> NameMap<V> {
    /// The value under a name.
    pub fn get(&self, name: &ServiceName) -> Option<&V> {
        let bucket = self.bucket(bucket_of(name))?;
        let at = place(bucket, name).ok()?;
        bucket.get(at).map(|entry| &entry.1)
    }

    /// Whether both are the same value in memory, so certainly equal. Equal maps made apart are not.
    pub fn ptr_eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root)
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.buckets().map(Vec::len).sum()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.buckets().all(Vec::is_empty)
    }

    /// All entries, bucket by bucket.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceName, &V)> {
        self.buckets().flatten().map(|entry| (&entry.0, &entry.1))
    }

    /// The entries of one bucket; none for a number that is not below [`BUCKETS`].
    pub fn iter_bucket(&self, bucket: usize) -> impl Iterator<Item = (&ServiceName, &V)> {
        self.bucket(bucket).into_iter().flatten().map(|entry| (&entry.0, &entry.1))
    }

    /// The names under which `self` and `other` differ, and both values. What they share is skipped unseen.
    pub fn differences<'a>(
        &'a self,
        other: &'a Self,
        same: impl Fn(&V, &V) -> bool + Copy + 'a,
    ) -> impl Iterator<Item = Difference<'a, V>> {
        self.unshared(other).flat_map(|(before, now)| Merged { before, now }).filter_map(move |pair| match pair {
            (Some(before), Some(now)) if Arc::ptr_eq(before, now) || same(&before.1, &now.1) => None,
            (before, now) => {
                let (name, _) = &**before.or(now)?;
                Some((name, before.map(|entry| &entry.1), now.map(|entry| &entry.1)))
            }
        })
    }

    fn buckets(&self) -> impl Iterator<Item = &Bucket<V>> {
        self.root.iter().flat_map(|branch| branch.iter().map(|bucket| &**bucket))
    }

    fn bucket(&self, number: usize) -> Option<&Bucket<V>> {
        let branch = self.root.get(number / BUCKETS_OF_A_BRANCH)?;
        branch.get(number % BUCKETS_OF_A_BRANCH).map(|bucket| &**bucket)
    }

    /// The buckets that two maps do not share, in pairs.
    fn unshared<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Bucket<V>, &'a Bucket<V>)> {
        let branches = self.root.iter().zip(other.root.iter()).filter(|(a, b)| !Arc::ptr_eq(a, b));
        let buckets = branches.flat_map(|(a, b)| a.iter().zip(b.iter()));
        buckets.filter(|(a, b)| !Arc::ptr_eq(a, b)).map(|(a, b)| (&**a, &**b))
    }
}

/// Where a name is in a bucket, or where it would have to be.
fn place<V>(bucket: &Bucket<V>, name: &ServiceName) -> Result<usize, usize> {
    bucket.binary_search_by(|entry| entry.0.cmp(name))
}

/// What two buckets have under each name that either has.
struct Merged<'a, V> {
    before: &'a [Entry<V>],
    now: &'a [Entry<V>],
}

impl<'a, V> Iterator for Merged<'a, V> {
    type Item = (Option<&'a Entry<V>>, Option<&'a Entry<V>>);

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.before.first(), self.now.first()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(now)) if Arc::ptr_eq(before, now) => Ordering::Equal,
            (Some(before), Some(now)) => before.0.cmp(&now.0),
        };
        let before = if order.is_le() { self.before.split_off_first() } else { None };
        let now = if order.is_ge() { self.now.split_off_first() } else { None };
        Some((before, now))
    }
}

/// A name whose value differs: the name, the value before and the value now.
pub type Difference<'a, V> = (&'a ServiceName, Option<&'a V>, Option<&'a V>);

impl<V: Clone> NameMap<V> {
    /// Puts a value under a name and returns the one that was there.
    pub fn insert(&mut self, name: ServiceName, value: V) -> Option<V> {
        let bucket = self.bucket_mut(&name);
        match place(bucket, &name) {
            Ok(at) => Some(value_of(std::mem::replace(&mut bucket[at], Arc::new((name, value))))),
            Err(at) => {
                bucket.insert(at, Arc::new((name, value)));
                None
            }
        }
    }

    /// Takes the value under a name away.
    pub fn remove(&mut self, name: &ServiceName) -> Option<V> {
        // A miss must not copy the bucket: that would make equal maps look different.
        self.get(name)?;
        let bucket = self.bucket_mut(name);
        let at = place(bucket, name).ok()?;
        Some(value_of(bucket.remove(at)))
    }

    fn bucket_mut(&mut self, name: &ServiceName) -> &mut Bucket<V> {
        let number = bucket_of(name);
        let branch = Arc::make_mut(&mut Arc::make_mut(&mut self.root)[number / BUCKETS_OF_A_BRANCH]);
        Arc::make_mut(&mut branch[number % BUCKETS_OF_A_BRANCH])
    }
}

fn value_of<V: Clone>(entry: Entry<V>) -> V {
    Arc::unwrap_or_clone(entry).1
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

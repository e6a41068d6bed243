//! Versions: 64-bit hashes of canonical content.
//!
//! A version is the same on every replica of the control plane that sees the same objects, whatever the order in
//! which it saw them. Versions are compared for equality and never ordered.
//!
//! The hash is XXH3-64 with seed 0 over an explicit byte form: integers little-endian, strings and sequences
//! prefixed by their length as 64 bits, enums by a tag. It does not use `std::hash::Hash`, whose output may change
//! with a compiler release: two replicas built a year apart must agree.

use std::{fmt, net::IpAddr, sync::Arc};

use xxhash_rust::xxh3::Xxh3Default;

/// The version of one resource or endpoint: a hash of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// The version of `value`.
    pub fn of<T: Canonical + ?Sized>(value: &T) -> Self {
        let mut writer = CanonicalWriter::default();
        value.write(&mut writer);
        Self(writer.finish())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A value together with the version of its content.
///
/// The version travels with the value instead of being recomputed by the receiver: a proxy that is older than its
/// control plane may not know every field that went into the hash.
#[derive(Debug)]
pub struct Versioned<T> {
    /// Hash of the content, as its author computed it.
    pub version: Version,
    /// The content.
    pub value: Arc<T>,
}

impl<T: Canonical> Versioned<T> {
    /// Computes the version of `value`.
    pub fn new(value: T) -> Self {
        Self { version: Version::of(&value), value: Arc::new(value) }
    }
}

impl<T> Clone for Versioned<T> {
    fn clone(&self) -> Self {
        Self { version: self.version, value: Arc::clone(&self.value) }
    }
}

impl<T: PartialEq> PartialEq for Versioned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version && self.value == other.value
    }
}

impl<T: Eq> Eq for Versioned<T> {}

/// A type with one byte form, from which its version is computed.
pub trait Canonical {
    /// Feeds the canonical bytes of `self` to the writer.
    fn write(&self, writer: &mut CanonicalWriter);
}

/// Collects canonical bytes and hashes them.
#[derive(Default)]
pub struct CanonicalWriter(Xxh3Default);

impl CanonicalWriter {
    /// An integer, a length or an enum's tag.
    pub fn number(&mut self, value: impl Into<u64>) {
        self.0.update(&value.into().to_le_bytes());
    }

    /// A string, prefixed by its length.
    pub fn text(&mut self, value: &str) {
        self.length(value.len());
        self.0.update(value.as_bytes());
    }

    /// An address, prefixed by its family.
    pub fn ip(&mut self, value: IpAddr) {
        match value {
            IpAddr::V4(ip) => {
                self.number(4u64);
                self.0.update(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.number(6u64);
                self.0.update(&ip.octets());
            }
        }
    }

    /// A sequence, prefixed by its length.
    pub fn sequence<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for item in items {
            write(self, item);
        }
    }

    /// A sequence of numbers: the same as one by one, and much quicker.
    pub fn numbers(&mut self, numbers: &[u64]) {
        self.length(numbers.len());
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.0.update(&bytes);
    }

    /// The length of what follows.
    pub fn length(&mut self, length: usize) {
        self.number(length as u64);
    }

    /// The hash of all that was written.
    pub fn finish(&self) -> u64 {
        self.0.digest()
    }
}

#[cfg(test)]
mod tests {
    use super::CanonicalWriter;

    #[test]
    fn numbers_are_a_sequence_of_them() {
        let (mut one_by_one, mut at_once) = (CanonicalWriter::default(), CanonicalWriter::default());
        let numbers = [1, u64::MAX, 3];
        one_by_one.sequence(&numbers, |w, number| w.number(*number));
        at_once.numbers(&numbers);
        assert_eq!(one_by_one.finish(), at_once.finish());
    }
}

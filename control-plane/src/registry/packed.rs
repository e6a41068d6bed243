//! Objects at rest.

use std::marker::PhantomData;

use lz4_flex::block;
use serde::{Serialize, de::DeserializeOwned};

/// An object as the text that it is written as, compressed: a fraction of what it takes with all its fields, most of which it does not
/// have, while what it does have says the same again and again. There are very many, and each is looked at only when something about
/// its Service changes.
#[derive(Debug)]
pub(super) struct Packed<T> {
    text: Box<[u8]>,
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Packed<T> {
    pub(super) fn new(object: &T) -> Self {
        // Whatever was read can be written. What could not would read as if it was not there.
        let text = serde_json::to_vec(object).unwrap_or_default();
        Self { text: block::compress_prepend_size(&text).into_boxed_slice(), of: PhantomData }
    }

    /// The object, as it was put in.
    pub(super) fn unpack(&self) -> Option<T> {
        serde_json::from_slice(&block::decompress_size_prepended(&self.text).ok()?).ok()
    }
}

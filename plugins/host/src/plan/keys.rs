//! The hashes of what a plan names, made natively for each pick.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    plan::{Plan, Word, json},
    request::RequestSource,
};

/// What a pick is keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keys {
    /// XXH3-64 with seed 0 of what each key names; 0 where the request has nothing by that name.
    pub hashes: [u64; 4],
    /// Bit i is set if the request has what key i names.
    pub present: u8,
}

impl Plan {
    /// The keys of one request. Costs nothing where the plan has none.
    pub fn keys(&self, source: &dyn RequestSource) -> Keys {
        let mut keys = Keys::default();
        for (index, word) in self.keys.iter().enumerate() {
            if let Some(value) = self.value(word, source) {
                keys.hashes[index] = xxh3_64(&value);
                keys.present |= 1 << index;
            }
        }
        keys
    }

    /// What a word names, if the policy may have it.
    fn value<'a>(&self, word: &Word, source: &'a dyn RequestSource) -> Option<Cow<'a, [u8]>> {
        if !self.grants.allow(word) {
            return None;
        }
        match word {
            Word::Json { pointer, max_bytes } => json::string_at(&source.body(), pointer, *max_bytes).map(Cow::Owned),
            _ => source.value(word),
        }
    }
}

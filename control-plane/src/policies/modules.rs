//! The modules that proxies may ask for: those that are published, and those that were a moment ago.
//!
//! A proxy that is a moment behind asks for what the snapshot before named. What nobody names any more stays for a minute.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use wasmesh_core::policy::ModuleDigest;

use crate::translate::policy::Module;

/// How long a module stays after the last snapshot that named it.
const LINGER: Duration = Duration::from_secs(60);

/// The most bytes that are kept for those who are behind: a folder that is written again and again must not fill the
/// memory.
const MAX_LINGERING_BYTES: usize = 64 << 20;

/// All modules that may be asked for. Clones are the same shelf.
#[derive(Clone, Default)]
pub struct Modules(Arc<Mutex<Shelf>>);

impl Modules {
    /// The bytes of a module, if any policy names it or did so until just now.
    pub fn get(&self, digest: &ModuleDigest) -> Option<Bytes> {
        self.lock().get(digest, Instant::now())
    }

    /// Puts out what is about to be published. To be called before that, so that nobody asks in vain.
    pub fn replace(&self, now: Vec<Module>) {
        self.lock().replace(now, Instant::now());
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same with the time passed in.
#[derive(Debug, Default)]
struct Shelf {
    modules: HashMap<ModuleDigest, Shelved>,
}

#[derive(Debug)]
struct Shelved {
    bytes: Bytes,
    /// When nobody named it any more; `None` while somebody does.
    since: Option<Instant>,
}

impl Shelf {
    fn get(&mut self, digest: &ModuleDigest, now: Instant) -> Option<Bytes> {
        self.tidy(now);
        self.modules.get(digest).map(|shelved| shelved.bytes.clone())
    }

    fn replace(&mut self, named: Vec<Module>, now: Instant) {
        for shelved in self.modules.values_mut() {
            shelved.since.get_or_insert(now);
        }
        for module in named {
            self.modules.insert(module.digest(), Shelved { bytes: module.bytes().clone(), since: None });
        }
        self.tidy(now);
    }

    fn tidy(&mut self, now: Instant) {
        self.modules.retain(|_, shelved| shelved.since.is_none_or(|since| now < since + LINGER));
        while self.lingering_bytes() > MAX_LINGERING_BYTES {
            let lingering = self.modules.iter().filter_map(|(digest, shelved)| Some((shelved.since?, *digest)));
            let Some((_, oldest)) = lingering.min() else { return };
            self.modules.remove(&oldest);
        }
    }

    fn lingering_bytes(&self) -> usize {
        self.modules.values().filter(|shelved| shelved.since.is_some()).map(|shelved| shelved.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(tag: u8, length: usize) -> Module {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        bytes.resize(length, tag);
        Module::new(bytes.into()).unwrap()
    }

    #[test]
    fn a_module_that_nobody_names_any_more_stays_for_a_minute() {
        let (mut shelf, start) = (Shelf::default(), Instant::now());
        let (old, new) = (module(1, 100), module(2, 100));
        shelf.replace(vec![old.clone()], start);
        shelf.replace(vec![new.clone()], start + LINGER);
        assert_eq!(shelf.get(&old.digest(), start + LINGER * 2 - Duration::from_secs(1)), Some(old.bytes().clone()));
        assert_eq!(shelf.get(&old.digest(), start + LINGER * 2), None);
        assert_eq!(shelf.get(&new.digest(), start + LINGER * 9), Some(new.bytes().clone()));
    }

    #[test]
    fn a_module_that_is_named_again_stays() {
        let (mut shelf, start) = (Shelf::default(), Instant::now());
        let both = module(1, 100);
        for named in [vec![both.clone()], Vec::new(), vec![both.clone()]] {
            shelf.replace(named, start);
        }
        assert!(shelf.get(&both.digest(), start + LINGER * 2).is_some());
    }

    #[test]
    fn what_lingers_is_bounded() {
        let (mut shelf, start) = (Shelf::default(), Instant::now());
        for number in 0..40 {
            shelf.replace(vec![module(number, 4 << 20)], start + Duration::from_millis(number.into()));
        }
        assert_eq!(shelf.modules.len(), 17, "16 of 4 MiB and the one that is named");
        assert!(shelf.lingering_bytes() <= MAX_LINGERING_BYTES);
        assert!(shelf.modules.contains_key(&module(38, 4 << 20).digest()), "the oldest go first");
    }
}

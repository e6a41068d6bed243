//! Which candidates have failed too often: a decision about the whole mesh, made from what each proxy counts.

use std::collections::BTreeMap;

use wasmesh_core::policy::Trial;

use crate::translate::ObjectKey;

/// A candidate that has been taken back. It stays so until the object declares another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// What was tried.
    pub trial: Trial,
    /// Its faults by reason, over all proxies.
    pub faults: BTreeMap<String, u64>,
    /// On how many proxies it has failed.
    pub proxies: usize,
}

/// The candidates that have been taken back, by policy.
pub type Aborts = BTreeMap<ObjectKey, Abort>;

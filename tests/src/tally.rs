//! Who answered how often.

use std::{collections::BTreeMap, net::SocketAddr, ops::Index};

/// Answers by backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<SocketAddr, usize>);

impl Tally {
    pub(crate) fn add(&mut self, backend: SocketAddr) {
        *self.0.entry(backend).or_default() += 1;
    }

    /// Who answered at all.
    pub fn backends(&self) -> Vec<SocketAddr> {
        self.0.keys().copied().collect()
    }

    /// All answers.
    pub fn total(&self) -> usize {
        self.0.values().sum()
    }
}

impl Index<&crate::Backend> for Tally {
    type Output = usize;

    fn index(&self, backend: &crate::Backend) -> &usize {
        self.0.get(&backend.address()).unwrap_or(&0)
    }
}

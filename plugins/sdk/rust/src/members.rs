//! Endpoints that are chosen among: those of one priority, one zone, one version.

use crate::{Endpoint, Request, stats};

/// Some of the endpoints, numbered by *position*; an *index* is a place in the whole list.
#[derive(Debug)]
pub struct Members {
    len: usize,
    /// By position; `None` if they are the whole list, so that one priority costs no translation.
    indexes: Option<Box<[u32]>>,
    /// By position, at least 1.
    weights: Box<[u32]>,
}

impl Members {
    /// Those that `keep` says, in the order of the list.
    pub fn among(endpoints: &[Endpoint], keep: &dyn Fn(&Endpoint) -> bool) -> Self {
        let chosen = || endpoints.iter().zip(0..).filter(|(endpoint, _)| keep(endpoint));
        let indexes: Box<[u32]> = chosen().map(|(_, index)| index).collect();
        let weights = chosen().map(|(endpoint, _)| endpoint.weight.max(1)).collect();
        let len = indexes.len();
        Self { len, indexes: (len < endpoints.len()).then_some(indexes), weights }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the member at `position` stands in the whole list.
    #[inline]
    pub fn index(&self, position: usize) -> u32 {
        self.indexes.as_ref().map_or(position as u32, |indexes| indexes[position])
    }

    /// Its share relative to the others, at least 1.
    pub fn weight(&self, position: usize) -> u32 {
        self.weights[position]
    }

    /// The weights by position; `None` if all are the same.
    pub fn uneven_weights(&self) -> Option<&[u32]> {
        self.weights.windows(2).any(|pair| pair[0] != pair[1]).then_some(&*self.weights)
    }

    /// Whether this request should go there: not ejected, full or gone, and not where it has just failed.
    #[inline]
    pub fn is_usable(&self, position: usize, request: &Request) -> bool {
        self.is_possible(position, request) && stats::available(self.index(position))
    }

    /// Whether this request may go there if need be: not where it has just failed.
    #[inline]
    pub fn is_possible(&self, position: usize, request: &Request) -> bool {
        request.avoid != Some(self.index(position))
    }

    /// Whether more than half are not available. Then the trouble is likely elsewhere, and sending everything to the few
    /// that are left would only bring these down too.
    pub fn is_panicking(&self) -> bool {
        let ejected = (0..self.len).filter(|position| !stats::available(self.index(*position))).count();
        ejected * 2 > self.len
    }

    /// The first usable member from `start` on, round the list.
    pub fn usable_from(&self, start: usize, request: &Request) -> Option<usize> {
        (start..self.len).chain(0..start.min(self.len)).find(|position| self.is_usable(*position, request))
    }

    /// The first member from `start` on, round the list, that the request may go to if need be.
    pub fn possible_from(&self, start: usize, request: &Request) -> Option<usize> {
        (start..self.len).chain(0..start.min(self.len)).find(|position| self.is_possible(*position, request))
    }
}

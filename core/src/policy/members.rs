//! The candidates of one priority level.

use std::sync::Arc;

use crate::{endpoint::Endpoint, load::EndpointLoad, policy::PickRequest};

/// An endpoint that may be picked, and its live load.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its load, shared by everyone who sends requests to it.
    pub load: Arc<EndpointLoad>,
}

/// The candidates of one priority, numbered by *position*; an *index* is a place in the whole list.
#[derive(Debug)]
pub(super) struct Members {
    candidates: Arc<[Candidate]>,
    /// Index of each position; `None` if the level is the whole list, so that one level costs no translation.
    indexes: Option<Box<[usize]>>,
}

impl Members {
    /// Every candidate.
    pub(super) fn all(candidates: Arc<[Candidate]>) -> Self {
        Self { candidates, indexes: None }
    }

    /// Those of one priority, in the order of the list.
    pub(super) fn of_priority(candidates: Arc<[Candidate]>, priority: u32) -> Self {
        let at_priority =
            |(index, candidate): (usize, &Candidate)| (candidate.endpoint.priority == priority).then_some(index);
        let indexes = candidates.iter().enumerate().filter_map(at_priority).collect();
        Self { candidates, indexes: Some(indexes) }
    }

    pub(super) fn len(&self) -> usize {
        self.indexes.as_ref().map_or(self.candidates.len(), |indexes| indexes.len())
    }

    /// Where the member at `position` stands in the whole list.
    pub(super) fn index(&self, position: usize) -> usize {
        self.indexes.as_ref().map_or(position, |indexes| indexes[position])
    }

    pub(super) fn endpoint(&self, position: usize) -> &Endpoint {
        &self.candidates[self.index(position)].endpoint
    }

    pub(super) fn load(&self, position: usize) -> &EndpointLoad {
        &self.candidates[self.index(position)].load
    }

    /// Share relative to the other members, at least 1.
    pub(super) fn weight(&self, position: usize) -> u64 {
        u64::from(self.endpoint(position).weight.max(1))
    }

    /// The weights by position; `None` if all are the same.
    pub(super) fn uneven_weights(&self) -> Option<Vec<u64>> {
        let weights: Vec<_> = (0..self.len()).map(|position| self.weight(position)).collect();
        let uneven = weights.windows(2).any(|pair| pair[0] != pair[1]);
        uneven.then_some(weights)
    }

    /// Whether this request should go there: not gone, not ejected, and not where it has just failed.
    pub(super) fn is_usable(&self, position: usize, request: &PickRequest<'_>) -> bool {
        self.is_possible(position, request) && !self.is_ejected(position, request)
    }

    /// Whether this request may go there if need be: not gone, and not where it has just failed.
    pub(super) fn is_possible(&self, position: usize, request: &PickRequest<'_>) -> bool {
        let index = self.index(position);
        !request.avoid.contains(&index) && !self.candidates[index].load.is_withdrawn()
    }

    fn is_ejected(&self, position: usize, request: &PickRequest<'_>) -> bool {
        self.load(position).health().is_ejected(request.now_us)
    }

    /// Whether more than half of the members are ejected. Then the trouble is likely elsewhere, in the network or on our
    /// side, and sending everything to the few that are left would only bring these down too: ejection is disregarded
    /// (Envoy's panic threshold, whose default is 50 % as well).
    pub(super) fn is_panicking(&self, request: &PickRequest<'_>) -> bool {
        let ejected = (0..self.len()).filter(|position| self.is_ejected(*position, request)).count();
        ejected * 2 > self.len()
    }

    /// The first usable member from `start` on, round the list.
    pub(super) fn usable_from(&self, start: usize, request: &PickRequest<'_>) -> Option<usize> {
        let len = self.len();
        (start..len).chain(0..start.min(len)).find(|position| self.is_usable(*position, request))
    }
}

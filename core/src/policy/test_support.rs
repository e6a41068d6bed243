//! What the policies' unit tests share.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    endpoint::{Conditions, Endpoint, EndpointId, Hints},
    load::EndpointLoad,
    policy::{Candidate, draw::mix, members::Members},
};

/// SplitMix64: small, seeded, the same everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        let drawn = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        drawn
    }
}

/// A candidate whose address follows from its number.
pub(super) fn candidate(number: u16, weight: u32) -> Candidate {
    let [high, low] = number.to_be_bytes();
    let endpoint = Endpoint {
        id: EndpointId(u64::from(number)),
        port: "http".to_owned(),
        address: ([10, 0, high, low], 8080).into(),
        weight,
        priority: 0,
        zone: String::new(),
        node: String::new(),
        hostname: String::new(),
        labels: BTreeMap::new(),
        conditions: Conditions::default(),
        hints: Hints::default(),
    };
    Candidate { endpoint: Arc::new(endpoint), load: Arc::new(EndpointLoad::default()) }
}

/// Candidates 0, 1, … with these weights.
pub(super) fn candidates(weights: &[u32]) -> Arc<[Candidate]> {
    weights.iter().zip(0..).map(|(weight, number)| candidate(number, *weight)).collect()
}

pub(super) fn members(weights: &[u32]) -> Members {
    Members::all(candidates(weights))
}

/// Checks that counts stand to each other as `expected` does, each within `tolerance` of its share.
#[track_caller]
pub(super) fn assert_shares(counts: &[usize], expected: &[f64], tolerance: f64) {
    let total = counts.iter().sum::<usize>() as f64;
    let expected_total: f64 = expected.iter().sum();
    for (position, (count, expected)) in counts.iter().zip(expected).enumerate() {
        let (share, wanted) = (*count as f64 / total, expected / expected_total);
        let near = (share - wanted).abs() <= wanted * tolerance;
        assert!(near, "member {position} got {share:.4} instead of {wanted:.4}: {counts:?}");
    }
}

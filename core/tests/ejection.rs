//! Ejected endpoints and the policies: they get nothing, unless nearly everything is ejected.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{cell::Cell, sync::Arc};

use support::{Random, candidate, candidates};
use wasmesh_core::{
    ejection::EjectionRule,
    policy::{Balancer, BuiltinPolicy, Candidate, PickRequest},
};

const RULE: EjectionRule = EjectionRule { failures: 1, first_pause_us: 1_000_000, max_pause_us: 1_000_000 };

/// How often each candidate is picked at time 1, with those at `ejected` failing at time 0.
fn counts(policy: BuiltinPolicy, candidates: Arc<[Candidate]>, ejected: &[usize]) -> Vec<usize> {
    for index in ejected {
        assert!(candidates[*index].load.health().failed(&RULE, 0, 0));
    }
    let mut random = Random(7);
    let (balancer, cursor) = (Balancer::new(policy, candidates), Cell::new(random.next()));
    let mut counts = vec![0; balancer.candidates().len()];
    for _ in 0..3_000 {
        let request = PickRequest { random: random.next(), key: random.next(), now_us: 1, avoid: &[] };
        counts[balancer.pick(&cursor, &request).unwrap()] += 1;
    }
    counts
}

#[test]
fn an_ejected_endpoint_gets_nothing_and_the_others_share_it() {
    for policy in BuiltinPolicy::ALL {
        let counts = counts(policy, candidates(&[1, 1, 1, 1]), &[2]);
        assert_eq!(counts[2], 0, "{policy}");
        assert!([0, 1, 3].iter().all(|index| counts[*index] > 500), "{policy}: {counts:?}");
    }
}

#[test]
fn with_most_of_them_ejected_nobody_is_spared() {
    for policy in BuiltinPolicy::ALL {
        let counts = counts(policy, candidates(&[1, 1, 1, 1]), &[0, 1, 2]);
        assert!(counts.iter().all(|count| *count > 300), "{policy}: {counts:?}");
    }
}

#[test]
fn a_single_endpoint_is_never_ejected_away() {
    for policy in BuiltinPolicy::ALL {
        assert_eq!(counts(policy, candidates(&[1]), &[0]), [3_000], "{policy}");
    }
}

#[test]
fn the_next_priority_takes_over_when_the_first_is_ejected() {
    for policy in BuiltinPolicy::ALL {
        let levels: Arc<[Candidate]> = [candidate(0, 1, 0), candidate(1, 1, 1), candidate(2, 1, 1)].into();
        let counts = counts(policy, levels, &[0]);
        assert_eq!(counts[0], 0, "{policy}: {counts:?}");
        assert!(counts[1] > 500 && counts[2] > 500, "{policy}: {counts:?}");
    }
}

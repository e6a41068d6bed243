//! The laws of picking, for every policy.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{cell::Cell, collections::BTreeSet, sync::Arc};

use proptest::{collection, prelude::*};
use support::{Random, any_policy, candidate, candidates};
use wasmesh_core::policy::{Balancer, BuiltinPolicy, Candidate, PickRequest};

const HASH_POLICIES: [BuiltinPolicy; 2] = [BuiltinPolicy::RingHash, BuiltinPolicy::Maglev];

/// A candidate before it has a number: its weight, its priority, whether it is withdrawn, and its load.
type Plan = (u32, u32, bool, (u8, Option<u32>));

fn any_plan() -> impl Strategy<Value = Plan> {
    let weight = prop_oneof![8 => 0_u32..4, 1 => Just(u32::MAX)];
    (weight, 0_u32..3, any::<bool>(), (0_u8..4, proptest::option::of(any::<u32>())))
}

fn planned(plans: &[Plan]) -> Arc<[Candidate]> {
    let plans = plans.iter().zip(0..);
    plans
        .map(|((weight, priority, withdrawn, (in_flight, latency)), number)| {
            let planned = candidate(number, *weight, *priority);
            (0..*in_flight).for_each(|_| planned.load.begin());
            latency.iter().for_each(|latency| planned.load.observe(u64::from(*latency), 0));
            if *withdrawn {
                planned.load.withdraw();
            }
            planned
        })
        .collect()
}

fn any_request() -> impl Strategy<Value = PickRequest<'static>> {
    let numbers = any::<(u64, u64, u32)>();
    (numbers, collection::vec(0_usize..10, 0..3)).prop_map(|((random, key, now), avoid)| PickRequest {
        random,
        key,
        now_us: u64::from(now),
        avoid: avoid.leak(),
    })
}

/// Where a request may go, straight from the rules.
fn permitted(candidates: &[Candidate], avoid: &[usize]) -> BTreeSet<usize> {
    let alive = |index: &usize| !candidates[*index].load.is_withdrawn();
    let usable: Vec<_> = (0..candidates.len()).filter(alive).filter(|index| !avoid.contains(index)).collect();
    let lowest = usable.iter().map(|index| candidates[*index].endpoint.priority).min();
    match lowest {
        Some(lowest) => usable.into_iter().filter(|index| candidates[*index].endpoint.priority == lowest).collect(),
        None => BTreeSet::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_pick_is_a_permitted_candidate_and_there_is_one_if_any_is_left(
        policy in any_policy(),
        plans in collection::vec(any_plan(), 0..8),
        requests in collection::vec(any_request(), 1..30),
        cursor in any::<u64>(),
    ) {
        let balancer = Balancer::new(policy, planned(&plans));
        let cursor = Cell::new(cursor);
        for request in requests {
            let permitted = permitted(balancer.candidates(), request.avoid);
            match balancer.pick(&cursor, &request) {
                Some(index) => prop_assert!(permitted.contains(&index), "{} of {:?}", index, permitted),
                None => prop_assert!(permitted.is_empty(), "none of {:?}", permitted),
            }
        }
    }

    #[test]
    fn a_pick_is_a_function_of_what_it_is_given(
        policy in any_policy(),
        plans in collection::vec(any_plan(), 0..8),
        request in any_request(),
        cursor in any::<u64>(),
    ) {
        let pick = || Balancer::new(policy, planned(&plans)).pick(&Cell::new(cursor), &request);
        prop_assert_eq!(pick(), pick());
    }

    #[test]
    fn hash_policies_choose_an_address_whatever_the_order_of_the_list(
        policy in proptest::sample::select(&HASH_POLICIES[..]),
        (one_way, other_way) in collection::vec(any_plan(), 1..8).prop_flat_map(|plans| {
            let list = planned(&plans).to_vec();
            (Just(list.clone()), Just(list).prop_shuffle())
        }),
        requests in collection::vec(any_request(), 1..30),
    ) {
        let (one_way, other_way) = (Balancer::new(policy, one_way.into()), Balancer::new(policy, other_way.into()));
        for request in requests {
            let chosen = |balancer: &Balancer| {
                // What is avoided is an endpoint, wherever it stands.
                let avoided = request.avoid.iter().filter_map(|index| one_way.candidates().get(*index));
                let place = |avoided: &Candidate| {
                    balancer.candidates().iter().position(|other| other.endpoint.id == avoided.endpoint.id)
                };
                let avoid: Vec<_> = avoided.filter_map(place).collect();
                let request = PickRequest { avoid: &avoid, ..request };
                balancer.pick(&Cell::new(0), &request).map(|index| balancer.candidates()[index].endpoint.address)
            };
            prop_assert_eq!(chosen(&one_way), chosen(&other_way));
        }
    }
}

/// How often each candidate is picked, with random bits and keys.
fn counts(balancer: &Balancer, picks: usize, avoid: &[usize]) -> Vec<usize> {
    let mut random = Random(97);
    let cursor = Cell::new(random.next());
    let mut counts = vec![0; balancer.candidates().len()];
    for _ in 0..picks {
        let request = PickRequest { random: random.next(), key: random.next(), now_us: 0, avoid };
        counts[balancer.pick(&cursor, &request).unwrap()] += 1;
    }
    counts
}

#[track_caller]
fn assert_shares(counts: &[usize], expected: &[f64], tolerance: f64, what: &dyn std::fmt::Display) {
    let total = counts.iter().sum::<usize>() as f64;
    let expected_total: f64 = expected.iter().sum();
    for (count, expected) in counts.iter().zip(expected) {
        let (share, wanted) = (*count as f64 / total, expected / expected_total);
        assert!((share - wanted).abs() <= wanted * tolerance, "{what}: {counts:?}");
    }
}

#[test]
fn every_policy_follows_the_weights() {
    for policy in BuiltinPolicy::ALL {
        let balancer = Balancer::new(policy, candidates(&[1, 2, 3, 4]));
        assert_shares(&counts(&balancer, 40_000, &[]), &[1.0, 2.0, 3.0, 4.0], 0.25, &policy);
        let equal = Balancer::new(policy, candidates(&[9, 9, 9]));
        assert_shares(&counts(&equal, 30_000, &[]), &[1.0, 1.0, 1.0], 0.2, &policy);
    }
}

#[test]
fn the_traffic_of_a_withdrawn_candidate_is_spread_over_all_others() {
    for policy in BuiltinPolicy::ALL {
        let balancer = Balancer::new(policy, candidates(&[1, 1, 1, 1, 1]));
        balancer.candidates()[2].load.withdraw();
        assert_shares(&counts(&balancer, 40_000, &[]), &[1.0, 1.0, 0.0, 1.0, 1.0], 0.25, &policy);
        balancer.candidates()[2].load.restore(1);
        assert_shares(&counts(&balancer, 40_000, &[0]), &[0.0, 1.0, 1.0, 1.0, 1.0], 0.25, &policy);
    }
}

#[test]
fn what_has_failed_already_is_never_picked_again() {
    for policy in BuiltinPolicy::ALL {
        let balancer = Balancer::new(policy, candidates(&[1, 1]));
        let cursor = Cell::new(0);
        let retry = PickRequest { avoid: &[1], ..PickRequest::default() };
        assert_eq!(balancer.pick(&cursor, &retry), Some(0), "{policy}");
        balancer.candidates()[0].load.withdraw();
        assert_eq!(balancer.pick(&cursor, &retry), None, "{policy}");
        assert_eq!(Balancer::new(policy, Arc::default()).pick(&cursor, &retry), None, "{policy}");
    }
}

#[test]
fn a_later_priority_serves_while_the_earlier_one_is_gone() {
    for policy in BuiltinPolicy::ALL {
        // Priorities are mixed up on purpose: an index is a place in the whole list.
        let list = [candidate(0, 1, 7), candidate(1, 1, 3), candidate(2, 1, 7), candidate(3, 1, 3)];
        let balancer = Balancer::new(policy, list.into());
        assert_shares(&counts(&balancer, 20_000, &[]), &[0.0, 1.0, 0.0, 1.0], 0.2, &policy);
        for index in [1, 3] {
            balancer.candidates()[index].load.withdraw();
        }
        assert_shares(&counts(&balancer, 20_000, &[]), &[1.0, 0.0, 1.0, 0.0], 0.2, &policy);
        balancer.candidates()[3].load.restore(1);
        assert_shares(&counts(&balancer, 1_000, &[]), &[0.0, 0.0, 0.0, 1.0], 0.0, &policy);
        // A retry goes on to the next priority rather than back to where the request has just failed.
        assert_shares(&counts(&balancer, 20_000, &[3]), &[1.0, 0.0, 1.0, 0.0], 0.2, &policy);
    }
}

#[test]
fn sidecars_whose_cursors_are_seeded_apart_begin_apart() {
    let balancer = Balancer::new(BuiltinPolicy::RoundRobin, candidates(&[1; 10]));
    let mut random = Random(5);
    let firsts: BTreeSet<_> =
        (0..200).map(|_| balancer.pick(&Cell::new(random.next()), &PickRequest::default())).collect();
    assert_eq!(firsts.len(), 10);
}

/// The share of keys that have another endpoint once one is removed, and the share that the removed one had.
fn moved_by_removing(policy: BuiltinPolicy, weights: &[u32], removed: usize) -> (f64, f64) {
    let all = candidates(weights);
    let rest: Vec<_> = all.iter().enumerate().filter(|(index, _)| *index != removed).map(|(_, c)| c.clone()).collect();
    let (before, after) = (Balancer::new(policy, Arc::clone(&all)), Balancer::new(policy, rest.into()));
    let mut random = Random(55);
    let (mut moved, mut owned) = (0, 0);
    const KEYS: u32 = 50_000;
    for _ in 0..KEYS {
        let request = PickRequest { key: random.next(), ..PickRequest::default() };
        let chosen = |balancer: &Balancer| {
            balancer.candidates()[balancer.pick(&Cell::new(0), &request).unwrap()].endpoint.address
        };
        let (then, now) = (chosen(&before), chosen(&after));
        moved += u32::from(then != now);
        owned += u32::from(then == all[removed].endpoint.address);
    }
    (f64::from(moved) / f64::from(KEYS), f64::from(owned) / f64::from(KEYS))
}

#[test]
fn removing_an_endpoint_moves_only_its_own_keys_on_a_ring() {
    for count in [2, 5, 20, 64] {
        let (moved, owned) = moved_by_removing(BuiltinPolicy::RingHash, &vec![1; count], count / 2);
        assert_eq!(moved, owned, "{count} endpoints");
    }
}

#[test]
fn removing_an_endpoint_moves_about_its_share_of_keys() {
    for policy in HASH_POLICIES {
        for (weights, removed) in [(vec![1; 3], 0), (vec![1; 10], 3), (vec![1; 100], 50), (vec![1, 2, 3, 4, 5], 2)] {
            let (moved, owned) = moved_by_removing(policy, &weights, removed);
            assert!(owned <= moved, "{policy} of {}: {moved} moved, {owned} had to", weights.len());
            assert!(moved <= 1.5 * owned + 0.02, "{policy} of {}: {moved} moved, {owned} had to", weights.len());
        }
    }
}

#[test]
fn a_key_keeps_its_endpoint_and_its_stand_in() {
    for policy in HASH_POLICIES {
        let balancer = Balancer::new(policy, candidates(&[1; 20]));
        let mut random = Random(66);
        for _ in 0..200 {
            let key = random.next();
            let mut pick = || {
                let request = PickRequest { key, random: random.next(), ..PickRequest::default() };
                balancer.pick(&Cell::new(request.random), &request).unwrap()
            };
            let home = pick();
            assert_eq!(pick(), home, "{policy}");
            balancer.candidates()[home].load.withdraw();
            let stand_in = pick();
            assert_ne!(stand_in, home);
            assert_eq!(pick(), stand_in, "{policy}");
            balancer.candidates()[home].load.restore(1);
            assert_eq!(pick(), home, "{policy}");
        }
    }
}

/// Points and slots are part of what proxies of different releases must agree on: a change of these numbers moves keys
/// between endpoints while a mesh is upgraded.
#[test]
fn all_releases_agree_where_a_key_belongs() {
    let chosen = |policy| {
        let balancer = Balancer::new(policy, candidates(&[1, 1, 2, 1, 3]));
        let mut random = Random(77);
        let mut pick = || {
            let request = PickRequest { key: random.next(), ..PickRequest::default() };
            balancer.pick(&Cell::new(0), &request).unwrap()
        };
        (0..12).map(|_| pick()).collect::<Vec<_>>()
    };
    assert_eq!(chosen(BuiltinPolicy::RingHash), [4, 0, 4, 4, 3, 4, 2, 1, 2, 4, 1, 4]);
    assert_eq!(chosen(BuiltinPolicy::Maglev), [4, 4, 2, 4, 0, 4, 4, 2, 4, 2, 2, 2]);
}

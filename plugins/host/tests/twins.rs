//! Policies that exist twice, built into the mesh and as a guest, pick the same.
//!
//! The guests of all languages are given what the built-in policy is given: endpoints with weights and priorities, loads,
//! ejected endpoints, keys, random numbers and retries, over several lists in turn.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{cell::Cell, net::SocketAddr, sync::Arc};

use proptest::{collection::vec, option, prelude::*};
use support::{LANGUAGES, about, built, load};
use wasmesh_core::{
    ejection::EjectionRule,
    endpoint::{Conditions, Endpoint, EndpointId, Hints},
    load::EndpointLoad,
    policy::{Balancer, BuiltinPolicy, Candidate, PickRequest},
};
use wasmesh_policy_host::{Choice, EndpointView, Health, Instance, Keys, NoSource, Policy, Request, Settings, Stats};

/// When all picks happen, and until when endpoints stay ejected.
const NOW_US: u64 = 5_000;
const EJECT: EjectionRule = EjectionRule { failures: 1, first_pause_us: 1_000_000, max_pause_us: 1_000_000 };

#[test]
fn round_robins_pick_the_same() {
    check(BuiltinPolicy::RoundRobin, "round-robin");
}

#[test]
fn there_is_a_round_robin_in_each_language() {
    for language in LANGUAGES {
        assert!(built().join(language).join("round-robin.wasm").exists(), "{language}");
    }
}

#[test]
fn least_requests_pick_the_same() {
    check(BuiltinPolicy::LeastRequest, "least-request");
}

#[test]
fn rings_pick_the_same() {
    check(BuiltinPolicy::RingHash, "ring-hash");
}

/// Every guest of one name against the built-in policy.
fn check(builtin: BuiltinPolicy, name: &str) {
    let in_language = |language: &&str| built().join(language).join(name).with_extension("wasm").exists();
    let languages: Vec<_> = LANGUAGES.into_iter().filter(in_language).collect();
    assert!(languages.len() >= 2, "{name} is in {languages:?} only");
    for language in languages {
        let file = format!("{language}/{name}");
        let policy = Policy::prepare(&load(&file), Settings::default(), &about()).unwrap();
        let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(lists in vec(list(), 1..4))| {
            let mut guest = policy.instance(&about()).unwrap();
            let cursor = Cell::new(None);
            for (generation, list) in (1..).zip(&lists) {
                picks_agree(builtin, &mut guest, generation, list, &cursor)?;
            }
        });
    }
}

/// One list and the requests that are picked for on it.
#[derive(Debug, Clone)]
struct List {
    endpoints: Vec<Member>,
    requests: Vec<Ask>,
}

#[derive(Debug, Clone)]
struct Member {
    id: u64,
    address: SocketAddr,
    weight: u32,
    priority: u32,
    in_flight: u32,
    is_ejected: bool,
}

#[derive(Debug, Clone)]
struct Ask {
    random: u64,
    key: u64,
    /// Taken modulo the number of endpoints.
    avoid: Option<u32>,
}

fn list() -> impl Strategy<Value = List> {
    let weights = prop_oneof![Just(1..2_u32), Just(0..5), Just(0..u32::MAX)];
    let shape = (weights, 1..4_u32, prop_oneof![Just(0.0), Just(0.3), Just(0.7), Just(1.0)], 0..40_usize);
    shape.prop_flat_map(|(weights, priorities, ejected, len)| {
        let member =
            (any::<u64>(), any::<SocketAddr>(), weights, 0..priorities, 0..6_u32, prop::bool::weighted(ejected));
        let member = member.prop_map(|(id, address, weight, priority, in_flight, is_ejected)| Member {
            id,
            address,
            weight,
            priority,
            in_flight,
            is_ejected,
        });
        let ask = (any::<u64>(), any::<u64>(), option::weighted(0.2, any::<u32>()));
        let ask = ask.prop_map(|(random, key, avoid)| Ask { random, key, avoid });
        (vec(member, len), vec(ask, 30)).prop_map(|(endpoints, requests)| List { endpoints, requests })
    })
}

fn picks_agree(
    builtin: BuiltinPolicy,
    guest: &mut Instance,
    generation: u64,
    list: &List,
    cursor: &Cell<Option<u64>>,
) -> Result<(), TestCaseError> {
    let candidates: Arc<[Candidate]> = list.endpoints.iter().map(Member::candidate).collect();
    let views: Vec<_> = candidates.iter().map(|candidate| view(&candidate.endpoint)).collect();
    guest.update(generation, 0, &views, Box::new(Loads(Arc::clone(&candidates)))).unwrap();
    let balancer = Balancer::new(builtin, Arc::clone(&candidates));
    for ask in &list.requests {
        let avoid = ask.avoid.filter(|_| !views.is_empty()).map(|avoid| avoid % views.len() as u32);
        // The guest's cursor begins with its first random number; the mesh gives the built-in one a random start too.
        let place = Cell::new(cursor.get().unwrap_or(ask.random));
        let avoided: Vec<_> = avoid.iter().map(|index| *index as usize).collect();
        let request = PickRequest { random: ask.random, key: ask.key, now_us: NOW_US, avoid: &avoided };
        let expected = balancer.pick(&place, &request);
        cursor.set(Some(place.get()));
        let keys = Keys { hashes: [ask.key, 0, 0, 0], present: 1 };
        let request = Request { keys, random: ask.random, avoid, ..Request::default() };
        let picked = match guest.pick(&request, &NoSource).unwrap().choice {
            Choice::Endpoint(index) => Some(index as usize),
            Choice::Fallback => None,
            choice => return Err(TestCaseError::fail(format!("{choice:?}"))),
        };
        prop_assert_eq!(picked, expected, "{:?}", ask);
    }
    Ok(())
}

impl Member {
    fn candidate(&self) -> Candidate {
        let endpoint = Endpoint {
            id: EndpointId(self.id),
            port: "http".to_owned(),
            address: self.address,
            weight: self.weight,
            priority: self.priority,
            zone: String::new(),
            node: String::new(),
            hostname: String::new(),
            labels: Default::default(),
            conditions: Conditions::default(),
            hints: Hints::default(),
        };
        let load = EndpointLoad::default();
        (0..self.in_flight).for_each(|_| load.begin());
        if self.is_ejected {
            load.health().failed(&EJECT, 1, 0);
        }
        Candidate { endpoint: Arc::new(endpoint), load: Arc::new(load) }
    }
}

fn view(endpoint: &Endpoint) -> EndpointView<'_> {
    EndpointView {
        id: endpoint.id.0,
        address: endpoint.address,
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: "",
        node: "",
        health: Health::Healthy,
        ready_ms: 0,
        labels: &[],
    }
}

/// The loads that the built-in policy sees.
struct Loads(Arc<[Candidate]>);

impl Stats for Loads {
    fn in_flight(&self, endpoint: u32) -> u32 {
        self.0[endpoint as usize].load.in_flight()
    }

    fn total_in_flight(&self) -> u32 {
        self.0.iter().map(|candidate| candidate.load.in_flight()).sum()
    }

    fn latency_us(&self, _: u32, _: u64) -> u32 {
        0
    }

    fn failure_rate(&self, _: u32) -> u32 {
        0
    }

    fn available(&self, endpoint: u32, _: u64) -> bool {
        !self.0[endpoint as usize].load.health().is_ejected(NOW_US)
    }

    fn reported(&self, _: u32, _: u32, _: u64) -> Option<u32> {
        None
    }

    fn peers(&self) -> u32 {
        1
    }
}

//! What the example policies promise.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use support::{about, endpoint, load};
use wasmesh_policy_host::{
    Choice, EndpointView, Grants, Instance, Keys, NoSource, Outcome, Plan, Policy, Report, Request, RequestSource,
    Settings, Stats, Word, digest,
};
use xxhash_rust::xxh3::xxh3_64;

/// Which endpoints are ejected, and how many requests the others have under way.
#[derive(Clone, Default)]
struct Field(Arc<Mutex<Loads>>);

#[derive(Default)]
struct Loads {
    ejected: BTreeSet<u32>,
    in_flight: BTreeMap<u32, u32>,
}

impl Field {
    fn eject(&self, endpoints: impl IntoIterator<Item = u32>) {
        self.0.lock().unwrap().ejected = endpoints.into_iter().collect();
    }

    fn load(&self, loads: impl IntoIterator<Item = (u32, u32)>) {
        self.0.lock().unwrap().in_flight = loads.into_iter().collect();
    }
}

impl Stats for Field {
    fn in_flight(&self, endpoint: u32) -> u32 {
        self.0.lock().unwrap().in_flight.get(&endpoint).copied().unwrap_or(0)
    }

    fn total_in_flight(&self) -> u32 {
        self.0.lock().unwrap().in_flight.values().sum()
    }

    fn latency_us(&self, _: u32, _: u64) -> u32 {
        0
    }

    fn failure_rate(&self, _: u32) -> u32 {
        0
    }

    fn available(&self, endpoint: u32, _: u64) -> bool {
        !self.0.lock().unwrap().ejected.contains(&endpoint)
    }

    fn reported(&self, _: u32, _: u32, _: u64) -> Option<u32> {
        None
    }

    fn peers(&self) -> u32 {
        1
    }
}

fn settings(config: &str) -> Settings {
    Settings { config: config.to_owned(), ..Settings::default() }
}

/// A policy that serves these endpoints.
fn serve(name: &str, settings: Settings, endpoints: &[EndpointView<'_>]) -> (Instance, Field) {
    let policy = Policy::prepare(&load(name), settings, &about()).unwrap();
    let mut instance = policy.instance(&about()).unwrap();
    let field = Field::default();
    instance.update(1, 0, endpoints, Box::new(field.clone())).unwrap();
    (instance, field)
}

/// So many requests with this key, and who took them how often; `None` for the built-in policy.
fn counts(instance: &mut Instance, key: Option<&str>, requests: u64, now_ms: u64) -> BTreeMap<Option<u32>, usize> {
    let mut counts = BTreeMap::new();
    for number in 0..requests {
        let request = Request {
            keys: hashed(instance.policy().plan(), key),
            random: xxh3_64(&number.to_le_bytes()),
            now_ms,
            ..Request::default()
        };
        let taken = match instance.pick(&request, &NoSource).unwrap().choice {
            Choice::Endpoint(index) => Some(index),
            Choice::Fallback => None,
            choice => panic!("{choice:?}"),
        };
        *counts.entry(taken).or_default() += 1;
    }
    counts
}

/// As a proxy hashes a request whose first key has this value.
fn hashed(plan: &Plan, value: Option<&str>) -> Keys {
    struct One<'a>(Option<&'a str>);
    impl RequestSource for One<'_> {
        fn value(&self, _: &Word) -> Option<std::borrow::Cow<'_, [u8]>> {
            self.0.map(|value| value.as_bytes().into())
        }

        fn body(&self) -> bytes::Bytes {
            bytes::Bytes::new()
        }

        fn deadline_ms(&self) -> u32 {
            u32::MAX
        }
    }
    plan.keys(&One(value))
}

fn takers(counts: &BTreeMap<Option<u32>, usize>) -> Vec<u32> {
    counts.keys().flatten().copied().collect()
}

#[track_caller]
fn check_refused(name: &str, config: &str, word: &str) {
    let Err(refused) = Policy::prepare(&load(name), settings(config), &about()) else {
        panic!("{name} takes {config}");
    };
    assert!(refused.to_string().contains(word), "{name} {config}: {refused}");
}

#[test]
fn what_is_wrong_with_a_configuration_is_named() {
    for language in support::LANGUAGES {
        check_refused(&format!("{language}/round-robin"), r#"{"start": "random"}"#, "config");
    }
    for language in ["rust", "c"] {
        check_refused(&format!("{language}/least-request"), "[]", "config");
        check_refused(&format!("{language}/ring-hash"), r#"{"kye": "path"}"#, "key");
        check_refused(&format!("{language}/ring-hash"), r#"{"key": "phase-of-the-moon"}"#, "phase-of-the-moon");
    }
    check_refused("rust/canary-by-header", "{}", "canary");
    check_refused("rust/canary-by-header", r#"{"canary": ""}"#, "canary");
    check_refused("rust/tenant-shards", r#"{"size": 9}"#, "1 to 8");
    check_refused("rust/tenant-shards", r#"{"size": "2"}"#, "size");
    check_refused("rust/zone-spillover", r#"{"limit": 0}"#, "limit");
    check_refused("rust/error-penalty", r#"{"half-life-ms": 0}"#, "half-life-ms");
    check_refused("rust/bounded-load-hash", r#"{"percent": 100}"#, "above 100");
    check_refused("rust/prefix-affinity", r#"{"key": "json:/prompt"}"#, "how many bytes");
    check_refused("rust/slow-start-ewma", r#"{"least": 0}"#, "1 to 100");
    check_refused("rust/weighted-zones", "{}", "no zone has a share");
    check_refused("rust/weighted-zones", r#"{"eu-1": "80"}"#, "eu-1 must be a whole number");
    check_refused("rust/grpc-method-routing", r#"{"shop.Orders/Get": "leader"}"#, "begins with /");
}

#[test]
fn the_header_decides_who_gets_the_new_version() {
    let endpoints: Vec<_> = (0..6)
        .map(|number| {
            let labels: &[_] = if number < 2 { &[("version", "v2")] } else { &[("version", "v1")] };
            EndpointView { labels, ..endpoint(number) }
        })
        .collect();
    let (mut policy, field) = serve("rust/canary-by-header", settings(r#"{"canary": "v2"}"#), &endpoints);
    assert_eq!(takers(&counts(&mut policy, Some("yes"), 200, 0)), [0, 1]);
    assert_eq!(takers(&counts(&mut policy, Some("no"), 200, 0)), [2, 3, 4, 5]);
    assert_eq!(takers(&counts(&mut policy, None, 200, 0)), [2, 3, 4, 5]);
    field.eject([0]);
    assert_eq!(takers(&counts(&mut policy, Some("yes"), 200, 0)), [1]);
    let refused = Request { keys: hashed(policy.policy().plan(), Some("yes")), avoid: Some(1), ..Request::default() };
    let Choice::Endpoint(other) = policy.pick(&refused, &NoSource).unwrap().choice else { panic!("no endpoint") };
    assert!(other >= 2, "nobody of the new version is left, so the old one serves: {other}");
}

#[test]
fn a_tenant_stays_in_its_shard() {
    let endpoints = support::endpoints(20);
    let (mut policy, field) = serve("rust/tenant-shards", settings(r#"{"size": 3}"#), &endpoints);
    let mut used = BTreeSet::new();
    for tenant in ["acme", "initech", "globex"] {
        field.eject([]);
        let shard = takers(&counts(&mut policy, Some(tenant), 200, 0));
        assert_eq!(shard.len(), 3, "{tenant}: {shard:?}");
        field.eject([shard[0]]);
        assert_eq!(takers(&counts(&mut policy, Some(tenant), 200, 0)), shard[1..], "skipped within the shard");
        field.eject(shard.iter().copied());
        let outside = takers(&counts(&mut policy, Some(tenant), 200, 0));
        assert!(outside.len() == 1 && !shard.contains(&outside[0]), "{outside:?}");
        used.extend(shard);
    }
    assert!(used.len() > 3, "tenants have shards of their own: {used:?}");
    field.eject([]);
    assert_eq!(takers(&counts(&mut policy, None, 2_000, 0)).len(), 20, "nobody in particular goes anywhere");
}

#[test]
fn a_shard_that_is_down_may_refuse() {
    let endpoints = support::endpoints(4);
    let grants = Grants { reject: true, ..Grants::default() };
    let config = Settings { grants, ..settings(r#"{"size": 1, "spill": false}"#) };
    let (mut policy, field) = serve("rust/tenant-shards", config, &endpoints);
    field.eject(0..4);
    let request = Request { keys: hashed(policy.policy().plan(), Some("acme")), ..Request::default() };
    assert_eq!(policy.pick(&request, &NoSource).unwrap().choice, Choice::Reject(503));
}

#[test]
fn requests_leave_the_zone_as_it_gets_short_of_endpoints() {
    let zones = ["a", "a", "a", "b", "b", "b"];
    let endpoints: Vec<_> = (0..).zip(zones).map(|(number, zone)| EndpointView { zone, ..endpoint(number) }).collect();
    let (mut policy, field) = serve("rust/zone-spillover", settings("{}"), &endpoints);
    assert_eq!(takers(&counts(&mut policy, None, 500, 0)), [0, 1, 2]);
    field.eject([0, 1]);
    let shares = counts(&mut policy, None, 10_000, 100);
    assert_eq!(takers(&shares), [2, 3, 4, 5]);
    assert!((4_400..4_900).contains(&shares[&Some(2)]), "a third of the zone takes 1.4 thirds: {shares:?}");
    field.eject([0, 1, 2]);
    assert_eq!(takers(&counts(&mut policy, None, 500, 200)), [3, 4, 5]);
    field.eject([3, 4, 5]);
    assert_eq!(takers(&counts(&mut policy, None, 500, 300)), [0, 1, 2]);
}

#[test]
fn requests_leave_the_zone_as_it_gets_overloaded() {
    let zones = ["a", "a", "b", "b"];
    let endpoints: Vec<_> = (0..).zip(zones).map(|(number, zone)| EndpointView { zone, ..endpoint(number) }).collect();
    let (mut policy, field) = serve("rust/zone-spillover", settings(r#"{"limit": 10}"#), &endpoints);
    field.load([(0, 10), (1, 10)]);
    assert_eq!(takers(&counts(&mut policy, None, 500, 0)), [0, 1]);
    field.load([(0, 20), (1, 20)]);
    let shares = counts(&mut policy, None, 10_000, 100);
    let own = shares[&Some(0)] + shares[&Some(1)];
    assert!((4_800..5_200).contains(&own), "at twice the limit half of them stay: {shares:?}");
}

#[test]
fn reports_of_errors_steer_away_until_they_are_forgotten() {
    let endpoints = support::endpoints(4);
    let (mut policy, _) = serve("rust/error-penalty", settings("{}"), &endpoints);
    let outcome = Outcome { server_error: true, ..Outcome::default() };
    for now_ms in 0..40 {
        let endpoint_id = endpoints[2].id;
        policy.completed(&Report { endpoint_id, outcome, now_ms, ..Report::default() }).unwrap();
    }
    assert_eq!(takers(&counts(&mut policy, None, 1_000, 40)), [0, 1, 3]);
    policy.update(2, 50, &endpoints[1..], Box::new(Field::default())).unwrap();
    assert_eq!(takers(&counts(&mut policy, None, 1_000, 60)), [0, 2], "it is known in another place too");
    assert_eq!(takers(&counts(&mut policy, None, 1_000, 200_000)), [0, 1, 2]);
}

/// How much the fullest endpoint has at most of what it may have with bounded loads, while requests with a few popular keys come
/// and go.
fn fullest(name: &str, endpoints: u32) -> f64 {
    let config = r#"{"key": "path"}"#;
    let (mut policy, field) = serve(name, settings(config), &support::endpoints(endpoints));
    let mut under_way = Vec::new();
    let mut fullest: f64 = 0.0;
    for number in 0..20_000_u64 {
        let random = xxh3_64(&number.to_le_bytes());
        // Half of all are for the same key, half of the others for another, and so on.
        let key = format!("/{}", random.leading_zeros());
        let request = Request { keys: hashed(policy.policy().plan(), Some(&key)), random, ..Request::default() };
        let Choice::Endpoint(index) = policy.pick(&request, &NoSource).unwrap().choice else { panic!("{request:?}") };
        under_way.push(index);
        let load = under_way.iter().filter(|taken| **taken == index).count();
        let bound = (1.25 * under_way.len() as f64 / f64::from(endpoints)).ceil();
        fullest = fullest.max(load as f64 / bound);
        // As many as there are for a while, then few, then many again.
        let wanted = 20 + (number / 50 % 10) as usize * 15;
        while under_way.len() > wanted {
            under_way.swap_remove(xxh3_64(&(number + under_way.len() as u64).to_be_bytes()) as usize % under_way.len());
        }
        field.load(under_way.iter().map(|index| (*index, under_way.iter().filter(|it| *it == index).count() as u32)));
    }
    fullest
}

#[test]
fn with_bounded_loads_nobody_ever_has_more_than_the_bound() {
    assert!(fullest("rust/bounded-load-hash", 8) <= 1.0);
    assert!(fullest("rust/ring-hash", 8) > 2.0, "without them the popular keys sink their endpoint");
}

#[test]
fn to_look_for_room_among_ten_thousand_is_within_the_budget() {
    let endpoints = support::endpoints(10_000);
    for name in ["rust/bounded-load-hash", "rust/prefix-affinity"] {
        let (mut policy, field) = serve(name, settings(r#"{"key": "path"}"#), &endpoints);
        field.load((0..10_000).step_by(2).map(|index| (index, 40)));
        // `counts` fails the test on a fault. Of an endpoint with no room the next one with room takes all.
        for key in 0..8 {
            let takers = takers(&counts(&mut policy, Some(&format!("/{key}")), 20, 0));
            assert!(takers.len() == 1 && takers[0] % 2 == 1, "{name} {key}: {takers:?}");
        }
    }
}

#[test]
fn an_interpreter_looks_for_somebody_among_a_thousand_within_the_budget() {
    let endpoints = support::endpoints(1_000);
    let (mut policy, field) = serve("javascript/round-robin", settings("{}"), &endpoints);
    // `counts` fails the test on a fault.
    let turn = |policy: &mut Instance| takers(&counts(policy, None, 1, 0))[0];
    let next = (turn(&mut policy) + 1) % 1_000;
    field.eject([next]);
    assert_ne!(turn(&mut policy), next, "somebody else stands in");
    field.eject((0..1_000).filter(|index| index % 4 > 0));
    let picked: Vec<_> = (0..6).map(|_| turn(&mut policy)).collect();
    let are_in_turn = picked.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 1_000);
    assert!(are_in_turn, "most are ejected, which is disregarded: {picked:?}");
    field.eject(0..1_000);
    turn(&mut policy);
}

#[test]
fn an_interpreter_finds_nobody_in_four_priorities_within_the_budget() {
    let endpoints: Vec<_> = support::endpoints(1_000)
        .into_iter()
        .zip(0..)
        .map(|(it, at)| EndpointView { priority: at % 4, ..it })
        .collect();
    let (mut policy, field) = serve("javascript/round-robin", settings("{}"), &endpoints);
    field.eject(0..1_000);
    assert_eq!(counts(&mut policy, None, 200, 0).values().sum::<usize>(), 200);
    // Where nearly nobody is left of the first priority, who is found of it takes the request, or else the second does.
    field.eject((0..1_000).filter(|index| index % 4 == 0 && *index > 0));
    for index in takers(&counts(&mut policy, None, 200, 0)) {
        assert!(index % 4 < 2, "{index}");
    }
}

#[test]
fn what_fails_fast_is_not_fast() {
    let endpoints = support::endpoints(4);
    let (mut policy, _) = serve("rust/slow-start-ewma", settings("{}"), &endpoints);
    let outcome = Outcome { server_error: true, ..Outcome::default() };
    for now_ms in 0..40 {
        policy.completed(&Report { endpoint_id: endpoints[2].id, outcome, now_ms, ..Report::default() }).unwrap();
    }
    assert_eq!(takers(&counts(&mut policy, None, 1_000, 40)), [0, 1, 3]);
    assert_eq!(takers(&counts(&mut policy, None, 1_000, 200_000)), [0, 1, 2, 3], "it is forgotten");
}

#[test]
fn the_shares_of_zones_are_met_whoever_is_down() {
    // This proxy is in zone a.
    let zones = ["a", "eu-2", "eu-2", "us-1"];
    let endpoints: Vec<_> = (0..).zip(zones).map(|(number, zone)| EndpointView { zone, ..endpoint(number) }).collect();
    for (config, ejected, percent) in [
        (r#"{"a": 80, "eu-2": 20}"#, &[][..], [80.0, 10.0, 10.0, 0.0]),
        (r#"{"own": 90, "a": 1, "*": 5}"#, &[], [90.0, 2.5, 2.5, 5.0]),
        (r#"{"a": 1, "eu-2": 6, "us-1": 3}"#, &[1, 2], [25.0, 0.0, 0.0, 75.0]),
        (r#"{"a": 1}"#, &[0, 1], [0.0, 0.0, 100.0, 0.0]),
    ] {
        let (mut policy, field) = serve("rust/weighted-zones", settings(config), &endpoints);
        field.eject(ejected.iter().copied());
        let counts = counts(&mut policy, None, 10_000, 0);
        for (index, percent) in (0..).zip(percent) {
            let share = counts.get(&Some(index)).map_or(0.0, |count| *count as f64 / 100.0);
            assert!((share - percent).abs() < 2.0, "{config}: {index} has {share} of {percent}: {counts:?}");
        }
    }
}

#[test]
fn updates_do_not_use_up_memory() {
    let endpoints = support::endpoints(200);
    let in_rust_and_c = [
        ("rust/round-robin", "{}"),
        ("rust/least-request", "{}"),
        ("rust/tenant-shards", "{}"),
        ("rust/zone-spillover", "{}"),
        ("rust/error-penalty", "{}"),
        ("rust/slow-start-ewma", "{}"),
        ("rust/weighted-zones", r#"{"*": 1}"#),
        ("rust/grpc-method-routing", r#"{"/a*": "b"}"#),
        ("c/round-robin", "{}"),
        ("c/least-request", "{}"),
    ];
    // A runtime has some memory of its own, and what it has used it keeps.
    let others =
        [("go/round-robin", 4 << 20), ("assemblyscript/round-robin", 1 << 20), ("javascript/round-robin", 2 << 20)];
    let all = in_rust_and_c.map(|(name, config)| (name, config, 512 << 10)).into_iter();
    for (name, config, memory_bytes) in all.chain(others.map(|(name, memory)| (name, "{}", memory))) {
        let config = Settings { memory_bytes, ..settings(config) };
        let (mut policy, _) = serve(name, config, &endpoints);
        for generation in 2..400 {
            let some = &endpoints[..1 + (generation as usize * 37) % 200];
            policy.update(generation, 0, some, Box::new(Field::default())).unwrap();
        }
    }
}

#[test]
fn no_two_of_the_built_policies_are_the_same() {
    let shelves = support::LANGUAGES.into_iter().chain(["hostile"]);
    let shelves = shelves.map(|shelf| std::fs::read_dir(support::built().join(shelf)).unwrap());
    let files: Vec<_> = shelves.flatten().map(|file| file.unwrap().path()).collect();
    let digests: BTreeSet<_> = files.iter().map(|file| digest(&std::fs::read(file).unwrap()).to_string()).collect();
    assert_eq!(digests.len(), files.len());
}

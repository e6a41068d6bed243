//! The copies of the policies that are checked in do what their sources say: each is given the same lists, requests and reports as
//! the one that `cargo xtask policies` has just built, and answers the same. Their bytes may differ, because compilers do.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{
    collections::BTreeSet,
    fmt::Debug,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::{collection::vec, option, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use support::{about, built, endpoint, host, rebuilt};
use wasmesh_policy_host::{
    EndpointView, Grants, Health, Instance, Keys, Module, NoSource, Outcome, Policy, Report, Request, Settings, Stats,
    Traits,
};

/// How many runs of lists each policy is put through, per configuration.
const RUNS: usize = 12;

/// Enough to be told apart by.
const ZONES: [&str; 3] = ["", "a", "b"];
const LABELS: [&[(&str, &str)]; 3] = [&[], &[("version", "v1")], &[("version", "v2")]];

#[test]
fn what_is_checked_in_does_what_its_sources_say() {
    let (fresh, kept) = (policies(&rebuilt()), policies(&built()));
    assert!(!kept.is_empty());
    let differing: Vec<_> = fresh.symmetric_difference(&kept).collect();
    assert!(differing.is_empty(), "built or checked in, but not both: {differing:?}; {ADVICE}");
    for name in &kept {
        let [fresh, kept] = [rebuilt(), built()].map(|folder| load(&folder.join(name)));
        for config in configurations(name.file_stem().unwrap().to_str().unwrap()) {
            let what = format!("{} with {config}", name.display());
            compare(&what, prepare(&fresh, config), prepare(&kept, config));
        }
    }
}

const ADVICE: &str = "run `cargo xtask policies`, with --update if their sources have changed";

/// The files under this folder, as `rust/round-robin.wasm`.
fn policies(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = |folder: &Path| -> Vec<_> {
        let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}; {ADVICE}", folder.display()));
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    // Those that only tests use are not checked in.
    let shelves = entries(folder).into_iter().filter(|shelf| !shelf.ends_with("echo"));
    let files = shelves.flat_map(|shelf| entries(&shelf));
    files.map(|file| file.strip_prefix(folder).unwrap().to_owned()).collect()
}

/// What the policy is tried with: between them they lead everywhere in it, and to a refusal.
fn configurations(name: &str) -> &'static [&'static str] {
    match name {
        "bounded-load-hash" => {
            &["{}", r#"{"key": "header:x-user", "percent": 110, "at-least": 3}"#, r#"{"percent": 1}"#]
        }
        "canary-by-header" => &[r#"{"canary": "v2"}"#, "{}", r#"{"canary": "v2", "canary": "v3"}"#],
        "error-penalty" => &["{}", r#"{"factor": 3, "half-life-ms": 40}"#, r#"{"half-life-ms": 0}"#],
        "grpc-method-routing" => {
            &["{}", r#"{"label": "version", "/a*": "v1, v2", "/ab": "v2", "*": "v3,*"}"#, r#"{"a": "v1"}"#]
        }
        "least-reported" => &[r#"{"report": "queue"}"#, "{}"],
        "prefix-affinity" => {
            &[r#"{"key": "path", "queue": 0, "percent": 101, "at-least": 1}"#, "{}", r#"{"key": "paht"}"#]
        }
        "ring-hash" => &["{}", r#"{"key": "header:x-user"}"#, r#"{"key": 1}"#],
        "slow-start-ewma" => {
            &["{}", r#"{"window-ms": 900, "aggression": 250, "least": 1, "factor": 3}"#, r#"{"least": 0}"#]
        }
        "tenant-shards" => &["{}", r#"{"size": 5, "spill": false}"#, r#"{"size": 9}"#],
        "weighted-zones" => &[r#"{"a": 3, "b": 1}"#, r#"{"own": 2, "*": 1}"#, "{}"],
        "zone-spillover" => &["{}", r#"{"slack": 0, "limit": 2}"#, r#"{"limit": 0}"#],
        "bulk"
        | "memory-bomb"
        | "memory-bomb-at-once"
        | "recursion"
        | "refuse-update"
        | "spin"
        | "trap-update"
        | "wrong-index" => &["{}", r#"{"after": 3000}"#, r#"{"before": 1}"#],
        "trap" => &["{}", r#"{"every": 3000}"#],
        "huge-strings" => &["{}", r#"{"lists": 30}"#],
        _ => &["{}", r#"{"nonsense": true}"#],
    }
}

/// One policy, built and checked in, with the same configuration.
fn compare(what: &str, fresh: Result<Arc<Policy>, String>, kept: Result<Arc<Policy>, String>) {
    let (fresh, kept) = match (fresh, kept) {
        (Ok(fresh), Ok(kept)) => (fresh, kept),
        (fresh, kept) => return assert_eq!(fresh.err(), kept.err(), "{what}"),
    };
    assert_eq!(fresh.plan(), kept.plan(), "{what}");
    let mut runner = TestRunner::deterministic();
    for _ in 0..RUNS {
        let lists = vec(list(), 1..5).new_tree(&mut runner).unwrap().current();
        let [fresh, kept] = [&fresh, &kept].map(|policy| answers(&mut policy.instance(&about()).unwrap(), &lists));
        for (number, (fresh, kept)) in fresh.iter().zip(&kept).enumerate() {
            assert_eq!(fresh, kept, "{what}: {ADVICE}; answer {number} to {lists:#?}");
        }
        assert_eq!(fresh.len(), kept.len(), "{what}");
    }
}

/// The module, or why it is none of a policy.
fn load(file: &Path) -> Result<Arc<Module>, String> {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}; {ADVICE}", file.display()));
    host().load(&bytes).map_err(|error| error.to_string())
}

/// The policy, or why there is none.
fn prepare(module: &Result<Arc<Module>, String>, config: &str) -> Result<Arc<Policy>, String> {
    let settings = Settings { config: config.to_owned(), grants: Grants::ALL, ..Settings::default() };
    Policy::prepare(module.as_ref().map_err(String::clone)?, settings, &about()).map_err(|error| error.to_string())
}

/// What an instance answers to all of it, up to the first fault, after which it is dead.
fn answers(instance: &mut Instance, lists: &[List]) -> Vec<String> {
    let mut answers = Vec::new();
    let mut told = |answer: &dyn Debug, is_fault| {
        answers.push(format!("{answer:?}"));
        is_fault
    };
    'dead: for (generation, list) in (1..).zip(lists) {
        let views: Vec<_> = list.members.iter().map(Member::view).collect();
        let updated = instance.update(generation, list.now_ms, &views, Box::new(Loads(list.members.clone())));
        if told(&updated, updated.is_err()) {
            break;
        }
        for (ask, now_ms) in list.asks.iter().zip(list.now_ms..) {
            let picked = instance.pick(&ask.request(now_ms, views.len()), &NoSource);
            if told(&picked, picked.is_err()) {
                break 'dead;
            }
            let reported = ask.report(now_ms, &list.members).map(|report| instance.completed(&report));
            if told(&reported, reported.as_ref().is_some_and(Result::is_err)) {
                break 'dead;
            }
        }
    }
    answers
}

/// One list, and what happens while it is in force.
#[derive(Debug, Clone)]
struct List {
    now_ms: u64,
    members: Vec<Member>,
    asks: Vec<Ask>,
}

#[derive(Debug, Clone)]
struct Member {
    number: u32,
    weight: u32,
    priority: u32,
    zone: usize,
    labels: usize,
    in_flight: u32,
    reported: Option<u32>,
    is_ejected: bool,
}

#[derive(Debug, Clone)]
struct Ask {
    random: u64,
    key: Option<u64>,
    avoid: Option<u32>,
    /// To whom a report says it went, and how it ended there.
    reports: Option<(u32, bool, u64)>,
}

fn list() -> impl Strategy<Value = List> {
    let ejected = prop_oneof![Just(0.0), Just(0.3), Just(0.8)];
    let shape = (0..100_000_u64, 1..4_u32, prop_oneof![Just(1..2_u32), Just(0..9)], ejected, 0..60_usize);
    shape.prop_flat_map(|(now_ms, priorities, weights, ejected, len)| {
        let member = (0..80_u32, weights, 0..priorities, 0..ZONES.len(), 0..LABELS.len(), 0..6_u32);
        let member = (member, option::of(0..900_u32), prop::bool::weighted(ejected));
        let member = member.prop_map(|((number, weight, priority, zone, labels, in_flight), reported, is_ejected)| {
            Member { number, weight, priority, zone, labels, in_flight, reported, is_ejected }
        });
        // Few different keys, so that some come again; and the one that canary-by-header looks for.
        let yes = xxhash_rust::xxh3::xxh3_64(b"yes");
        let key = option::of(prop_oneof![Just(yes), any::<u64>(), 0..9_u64]);
        let reports = option::of((any::<u32>(), any::<bool>(), any::<u64>()));
        let ask = (any::<u64>(), key, option::weighted(0.2, any::<u32>()), reports);
        let ask = ask.prop_map(|(random, key, avoid, reports)| Ask { random, key, avoid, reports });
        let members = vec(member, len).prop_map(|members| {
            // Nobody is in a list twice.
            let mut seen = BTreeSet::new();
            members.into_iter().filter(|member| seen.insert(member.number)).collect()
        });
        (members, vec(ask, 60)).prop_map(move |(members, asks)| List { now_ms, members, asks })
    })
}

impl Member {
    fn view(&self) -> EndpointView<'static> {
        EndpointView {
            weight: self.weight,
            priority: self.priority,
            zone: ZONES[self.zone],
            labels: LABELS[self.labels],
            health: if self.is_ejected { Health::Degraded } else { Health::Healthy },
            ..endpoint(self.number)
        }
    }
}

impl Ask {
    fn request(&self, now_ms: u64, endpoints: usize) -> Request {
        Request {
            keys: Keys { hashes: [self.key.unwrap_or(0), 0, 0, 0], present: u8::from(self.key.is_some()) },
            random: self.random,
            now_ms,
            attempt: u32::from(self.avoid.is_some()),
            avoid: self.avoid.filter(|_| endpoints > 0).map(|avoid| avoid % endpoints as u32),
            traits: Traits { http: true, ..Traits::default() },
        }
    }

    fn report(&self, now_ms: u64, members: &[Member]) -> Option<Report> {
        let (to, server_error, tag) = self.reports.filter(|_| !members.is_empty())?;
        let endpoint_id = endpoint(members[to as usize % members.len()].number).id;
        let outcome = Outcome { server_error, ..Outcome::default() };
        Some(Report { endpoint_id, tag, total_us: 900, status: 200, outcome, now_ms, ..Report::default() })
    }
}

/// Load as the members say it.
struct Loads(Vec<Member>);

impl Stats for Loads {
    fn in_flight(&self, endpoint: u32) -> u32 {
        self.0[endpoint as usize].in_flight
    }

    fn total_in_flight(&self) -> u32 {
        self.0.iter().map(|member| member.in_flight).sum()
    }

    fn latency_us(&self, endpoint: u32, _: u64) -> u32 {
        self.0[endpoint as usize].in_flight * 100
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        self.0[endpoint as usize].in_flight
    }

    fn available(&self, endpoint: u32, _: u64) -> bool {
        !self.0[endpoint as usize].is_ejected
    }

    fn reported(&self, endpoint: u32, _: u32, _: u64) -> Option<u32> {
        self.0[endpoint as usize].reported
    }

    fn peers(&self) -> u32 {
        3
    }
}

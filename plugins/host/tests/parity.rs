//! Whichever path a policy is called by: the same inputs have the same answers, faults included.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::{borrow::Cow, fs, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use support::{about, built};
use wasmesh_policy_host::{
    CallPath, Calls, Compiler, EndpointView, Grants, Health, Host, HostOptions, Instance, Module, Outcome, Policy,
    Report, Request, RequestSource, Settings, Stats, Traits, Word,
};

/// Something that an instance is asked to do.
#[derive(Debug, Clone)]
enum Step {
    Update(Vec<Endpoint>),
    Picks(Vec<Asked>),
    Completed(Report),
}

/// An endpoint that owns its texts.
#[derive(Debug, Clone)]
struct Endpoint {
    number: u16,
    weight: u32,
    priority: u32,
    zone: String,
    health: Health,
    labels: Vec<(String, String)>,
}

/// A request and what there is in it.
#[derive(Debug, Clone)]
struct Asked {
    random: u64,
    now_ms: u64,
    attempt: u32,
    avoid: Option<u32>,
    traits: Traits,
    value: Option<Vec<u8>>,
    body: Vec<u8>,
}

impl RequestSource for Asked {
    fn value(&self, _: &Word) -> Option<Cow<'_, [u8]>> {
        self.value.as_deref().map(Cow::Borrowed)
    }

    fn body(&self) -> Bytes {
        Bytes::copy_from_slice(&self.body)
    }

    fn deadline_ms(&self) -> u32 {
        self.attempt
    }
}

/// Load that differs between endpoints.
struct Uneven;

impl Stats for Uneven {
    fn in_flight(&self, endpoint: u32) -> u32 {
        endpoint * 7 % 5
    }

    fn total_in_flight(&self) -> u32 {
        11
    }

    fn latency_us(&self, endpoint: u32, now_ms: u64) -> u32 {
        endpoint * 1000 + now_ms as u32 % 7
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        endpoint % 3 * 100
    }

    fn available(&self, endpoint: u32, _: u64) -> bool {
        !endpoint.is_multiple_of(4)
    }

    fn reported(&self, endpoint: u32, want: u32, _: u64) -> Option<u32> {
        endpoint.checked_sub(want)
    }

    fn peers(&self) -> u32 {
        3
    }
}

/// The built policies by name, each called in both ways.
fn policies() -> Vec<(String, [Arc<Policy>; 2])> {
    let hosts = [Calls::DirectIfPossible, Calls::AsComponents]
        .map(|calls| Host::start(HostOptions { calls, ..HostOptions::new(Compiler::InProcess) }).unwrap());
    let mut found = Vec::new();
    for language in ["rust", "c", "go", "assemblyscript", "javascript"] {
        for entry in fs::read_dir(built().join(language)).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = format!("{language}/{}", path.file_stem().unwrap().to_string_lossy());
            let wasm = fs::read(&path).unwrap();
            let [direct, component] = hosts.each_ref().map(|host| host.load(&wasm).unwrap());
            assert_eq!(direct.path(), CallPath::Direct, "{name}: {:?}", direct.why_component());
            let prepare = |module: &Arc<Module>| {
                // Some policies need to be told something; whichever they take is good enough here.
                let configs = ["{}", r#"{"canary":"v2"}"#, r#"{"report":"load"}"#, r#"{"*":"*"}"#, r#"{"*":1}"#];
                let grants = Grants::ALL;
                let prepare = |config: &str| {
                    let settings = Settings { config: config.to_owned(), grants, ..Settings::default() };
                    Policy::prepare(module, settings, &about())
                };
                configs.into_iter().map(prepare).find_map(Result::ok).unwrap_or_else(|| panic!("{name}"))
            };
            let both = [prepare(&direct), prepare(&component)];
            found.push((name, both));
        }
    }
    assert!(found.len() >= 10, "{}", found.len());
    found
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let label = (prop_oneof![Just("version"), Just("app")], prop_oneof![Just("v1"), Just("v2"), Just("")]);
    let health = prop_oneof![Just(Health::Healthy), Just(Health::Degraded), Just(Health::Draining)];
    let zone = prop_oneof![Just(""), Just("a"), Just("zone-ü")];
    (any::<u16>(), 0_u32..4, 0_u32..2, zone, health, prop::collection::vec(label, 0..3)).prop_map(
        |(number, weight, priority, zone, health, labels)| Endpoint {
            number,
            weight,
            priority,
            zone: zone.to_owned(),
            health,
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        },
    )
}

fn asked() -> impl Strategy<Value = Asked> {
    let value = prop::option::of(prop_oneof![
        Just(b"v2".to_vec()),
        Just(b"always".to_vec()),
        prop::collection::vec(any::<u8>(), 0..20),
    ]);
    let traits = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(http, grpc, tls)| Traits { http, grpc, tls });
    (any::<u64>(), 0_u64..100_000, 0_u32..3, prop::option::of(0_u32..6), traits, value).prop_map(
        |(random, now_ms, attempt, avoid, traits, value)| Asked {
            random,
            now_ms,
            attempt,
            avoid,
            traits,
            body: value.clone().unwrap_or_default(),
            value,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let report = (any::<u64>(), any::<u64>(), any::<u32>(), 0_u32..600, any::<bool>(), 0_u64..100_000).prop_map(
        |(endpoint_id, tag, total_us, status, transport_error, now_ms)| Report {
            endpoint_id: endpoint_id % 4,
            tag,
            first_byte_us: total_us / 2,
            total_us,
            status,
            outcome: Outcome { transport_error, streamed: !transport_error, ..Outcome::default() },
            now_ms,
        },
    );
    prop_oneof![
        1 => prop::collection::vec(endpoint(), 0..12).prop_map(Step::Update),
        3 => prop::collection::vec(asked(), 1..20).prop_map(Step::Picks),
        1 => report.prop_map(Step::Completed),
    ]
}

/// Does a step and tells everything that came of it.
fn take(instance: &mut Instance, generation: u64, step: &Step) -> String {
    match step {
        Step::Update(endpoints) => {
            let labels: Vec<Vec<_>> = endpoints
                .iter()
                .map(|endpoint| endpoint.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
                .collect();
            let views: Vec<_> =
                endpoints.iter().zip(&labels).map(|(endpoint, labels)| view(endpoint, labels)).collect();
            format!("{:?}", instance.update(generation, 7, &views, Box::new(Uneven)))
        }
        Step::Picks(requests) => {
            let picks = requests.iter().map(|asked| {
                let request = Request {
                    keys: instance.policy().plan().keys(asked),
                    random: asked.random,
                    now_ms: asked.now_ms,
                    attempt: asked.attempt,
                    avoid: asked.avoid,
                    traits: asked.traits,
                };
                format!("{:?}", instance.pick(&request, asked))
            });
            picks.collect::<Vec<_>>().join("\n")
        }
        Step::Completed(report) => format!("{:?}", instance.completed(report)),
    }
}

fn view<'a>(endpoint: &'a Endpoint, labels: &'a [(&'a str, &'a str)]) -> EndpointView<'a> {
    let [high, low] = endpoint.number.to_be_bytes();
    let address = if high.is_multiple_of(2) {
        ([10, 0, high, low], 80 + u16::from(low)).into()
    } else {
        ([0xfd00, 0, 0, 0, 0, 0, u16::from(high), u16::from(low)], 65535).into()
    };
    EndpointView {
        id: u64::from(endpoint.number),
        address,
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: &endpoint.zone,
        node: "node",
        health: endpoint.health,
        ready_ms: u64::from(low),
        labels,
    }
}

#[test]
fn both_paths_have_the_same_plan_and_the_same_answers() {
    let policies = policies();
    for (name, [direct, component]) in &policies {
        assert_eq!(direct.plan(), component.plan(), "{name}");
    }
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(48));
    let steps = prop::collection::vec(step(), 1..10);
    let result = runner.run(&steps, |steps| {
        for (name, both) in &policies {
            let [mut direct, mut component] = both.each_ref().map(|policy| policy.instance(&about()).unwrap());
            for (step, generation) in steps.iter().zip(1..) {
                let expected = take(&mut component, generation, step);
                prop_assert_eq!(take(&mut direct, generation, step), expected, "{} at {:?}", name, step);
            }
        }
        Ok(())
    });
    result.unwrap();
}

/// Whatever makes a request unlike another arrives on both paths: the guest hands it all back.
#[test]
fn reviving_changes_no_answer() {
    let steps = prop::collection::vec(step(), 2..10);
    let policies = policies();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(24));
    let result = runner.run(&steps, |steps| {
        for (name, [policy, _]) in &policies {
            let [mut steady, mut moving] = [(); 2].map(|()| policy.instance(&about()).unwrap());
            for (step, generation) in steps.iter().zip(1..) {
                // A revived instance has no list before its next update.
                if matches!(step, Step::Update(_)) {
                    let snapshot = moving.snapshot().unwrap();
                    moving = policy.revive(&about(), &snapshot).unwrap();
                }
                let expected = take(&mut steady, generation, step);
                let told = take(&mut moving, generation, step);
                prop_assert_eq!(told, expected, "{} at {:?}", name, step);
                if steady.is_dead() {
                    break;
                }
            }
        }
        Ok(())
    });
    result.unwrap();
}

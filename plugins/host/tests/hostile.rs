//! Guests that mean harm: each is refused or makes the fault that it should, in bounded time, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use support::{about, endpoints, host, load, request, update, wasm};
use wasmesh_policy_host::{
    Choice, Fault, Grants, Instance, LogLevel, LogSink, ModuleError, NoSource, NoStats, Policy, Rejection, Settings,
    UpdateError,
};

/// Why a hostile guest does not get through its trial.
fn rejection(name: &str, settings: Settings) -> Rejection {
    let module = load(&format!("hostile/{name}"));
    let cpu = cpu_time();
    let rejection = Policy::prepare(&module, settings, &about()).err().unwrap_or_else(|| panic!("{name} got through"));
    // Budgets are of instructions; this is only to see that none of them is out of all proportion.
    assert!(cpu_time() - cpu < Duration::from_secs(2), "{name}");
    rejection
}

fn fault(name: &str, settings: Settings) -> (&'static str, Fault) {
    match rejection(name, settings) {
        Rejection::Fault { call, fault } => (call, fault),
        other => panic!("{name}: {other}"),
    }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Enough fuel that something else is exceeded first.
fn much_fuel() -> Settings {
    Settings { fuel: 1_000_000_000, ..Settings::default() }
}

#[test]
fn what_runs_for_ever_runs_out_of_fuel() {
    for (name, call) in [("spin", "pick"), ("bulk", "pick"), ("slow-init", "init")] {
        let (failed, fault) = fault(name, Settings::default());
        assert_eq!((failed, fault.reason()), (call, "fuel"), "{name}");
    }
}

#[test]
fn without_fuel_to_run_out_of_it_runs_out_of_time() {
    let settings = Settings { fuel: u64::MAX, ..Settings::default() };
    let (call, fault) = fault("spin", settings);
    assert_eq!((call, fault), ("pick", Fault::Time { cpu_ms: 5 }));
}

#[test]
fn what_gives_up_traps() {
    for (name, call) in [("trap", "pick"), ("trap-update", "update")] {
        let (failed, fault) = fault(name, Settings::default());
        assert_eq!((failed, fault.reason()), (call, "trap"), "{name}");
        assert!(fault.to_string().contains("unreachable"), "{fault}");
    }
    let (call, fault) = fault("recursion", much_fuel());
    assert!(call == "pick" && ["stack", "trap"].contains(&fault.reason()), "{fault}");
}

#[test]
fn what_takes_too_much_memory_is_told_so() {
    for name in ["memory-bomb", "memory-bomb-at-once"] {
        let (_, fault) = fault(name, much_fuel());
        assert_eq!(fault, Fault::Memory { limit_bytes: 16 << 20 }, "{name}");
    }
}

#[test]
fn an_index_out_of_range_is_told() {
    let (call, fault) = fault("wrong-index", Settings::default());
    assert_eq!(call, "pick");
    assert!(matches!(fault, Fault::BadIndex { len: 1, .. }), "{fault}");
}

#[test]
fn refusals_are_passed_on_and_cut() {
    let refused = rejection("refuse-update", Settings::default());
    assert!(matches!(refused, Rejection::UpdateRefused { endpoints: 0, .. }), "{refused}");
    let talkative = Settings { config: r#"{"lists":1}"#.to_owned(), ..Settings::default() };
    let refused = rejection("huge-strings", talkative).to_string();
    assert!(refused.len() < 4096 && !refused.contains(['\u{1b}', '\n']), "{refused}");
    let refused = rejection("unknown-word", Settings::default()).to_string();
    assert!(refused.contains("plan.keys[0], \"phase-of-the-moon\", is not known"), "{refused}");
}

#[test]
fn what_is_no_policy_is_told_why() {
    let error = |wasm: &[u8]| host().load(wasm).err().unwrap();
    assert!(matches!(error(b"#!/bin/sh\n"), ModuleError::NotWasm { .. }));
    assert!(matches!(error(b""), ModuleError::NotWasm { .. }));
    assert_eq!(error(&wat::parse_str("(module)").unwrap()), ModuleError::CoreModule);
    assert_eq!(error(&wat::parse_str("(component)").unwrap()), ModuleError::MissingExport { interface: "policy" });
    assert_eq!(error(&wasm("hostile/no-export")), ModuleError::MissingExport { interface: "policy" });
    assert_eq!(error(&wasm("hostile/other-version")), ModuleError::ContractVersion { found: "0.2.0".to_owned() });
    let ModuleError::ForeignImport { name } = error(&wasm("hostile/foreign-import")) else { panic!() };
    assert!(name.contains("clock"), "{name}");
    assert!(matches!(error(&vec![0; (4 << 20) + 1]), ModuleError::TooLarge { .. }));
    let whole = wasm("rust/round-robin");
    for end in [8, 9, 100, 1000, whole.len() - 1] {
        assert!(host().load(&whole[..end]).is_err(), "{end}");
    }
}

fn instance(name: &str, settings: Settings, count: u32) -> Instance {
    let policy = Policy::prepare(&load(name), settings, &about()).unwrap();
    let mut instance = policy.instance(&about()).unwrap();
    update(&mut instance, count);
    instance
}

#[test]
fn what_was_not_granted_reads_as_none() {
    use std::borrow::Cow;
    struct Secrets;
    impl wasmesh_policy_host::RequestSource for Secrets {
        fn value(&self, _: &wasmesh_policy_host::Word) -> Option<Cow<'_, [u8]>> {
            Some(Cow::Borrowed(b"secret"))
        }
        fn body(&self) -> bytes::Bytes {
            bytes::Bytes::from_static(b"secret")
        }
        fn deadline_ms(&self) -> u32 {
            u32::MAX
        }
    }
    let pick = |grants: Grants| {
        let mut instance = instance("hostile/greedy-wants", Settings { grants, ..Settings::default() }, 3);
        let mut request = request(1);
        request.keys = instance.policy().plan().keys(&Secrets);
        let decision = instance.pick(&request, &Secrets).unwrap();
        (decision.choice, instance.policy().plan().reason(decision.reason).unwrap().to_owned())
    };
    assert_eq!(pick(Grants::default()), (Choice::Endpoint(0), "declared-read".to_owned()));
}

#[test]
fn rejecting_and_holding_need_leave() {
    let choice = |grants: Grants| {
        let mut instance = instance("hostile/hold-for-ever", Settings { grants, ..Settings::default() }, 3);
        instance.pick(&request(1), &NoSource).unwrap().choice
    };
    assert_eq!(choice(Grants::default()), Choice::Fallback);
    assert!(matches!(choice(Grants { hold: true, ..Grants::default() }), Choice::Hold(1..=1000)));
}

#[test]
fn a_reason_that_was_not_declared_has_no_name() {
    let mut instance = instance("hostile/bad-reason", Settings::default(), 3);
    let decision = instance.pick(&request(1), &NoSource).unwrap();
    assert_eq!(instance.policy().plan().reason(decision.reason), None);
    assert!(!instance.is_dead());
}

#[test]
fn an_instance_is_dead_after_a_refusal() {
    let limit_bytes = instance("rust/round-robin", Settings::default(), 3).memory_bytes();
    let tight = Settings { memory_bytes: limit_bytes, ..Settings::default() };
    let mut instance = instance("rust/round-robin", tight, 3);
    assert!(instance.snapshot().is_some());
    let error = instance.update(2, 1, &endpoints(5_000), Box::new(NoStats)).unwrap_err();
    assert_eq!(error, UpdateError::Fault(Fault::Memory { limit_bytes }));
    assert_eq!(instance.pick(&request(1), &NoSource), Err(Fault::Discarded));
    assert!(instance.is_dead() && instance.snapshot().is_none());
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl LogSink for Lines {
    fn write(&self, _: LogLevel, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

#[test]
fn what_it_writes_is_cut_printable_and_not_too_much() {
    let lines = Arc::new(Lines::default());
    let settings = Settings { log: lines.clone(), ..Settings::default() };
    Policy::prepare(&load("hostile/huge-strings"), settings, &about()).unwrap();
    let lines = lines.0.lock().unwrap();
    assert!((1..=60).contains(&lines.len()), "{}", lines.len());
    assert!(lines.iter().all(|line| line.len() <= 4096 && !line.contains(['\u{1b}', '\n'])));
}

#[test]
fn memory_comes_back() {
    let used = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let module = load("hostile/memory-bomb");
    let round = || (0..8).for_each(|_| assert!(Policy::prepare(&module, much_fuel(), &about()).is_err()));
    round();
    let before = used();
    round();
    round();
    // Each of the 16 had 16 MiB.
    assert!(used() < before + (32 << 10), "{} KiB before, {} after", before, used());
}

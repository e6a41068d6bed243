//! Guests written by hand, down to the bytes that they answer: what no toolchain makes, on both paths.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod support;

use std::{path::Path, sync::Arc};

use support::{about, endpoints, request};
use wasmesh_policy_host::{
    CallPath, Calls, Choice, Compiler, Decision, Fault, Host, HostOptions, Instance, Module, NoSource, NoStats, Policy,
    Rejection, Settings,
};
use wit_component::{ComponentEncoder, StringEncoding};

/// A guest; what is left empty does nothing and succeeds.
#[derive(Default, Clone, Copy)]
struct Guest<'a> {
    /// Imports and whatever else goes before the memory.
    head: &'a str,
    /// The allocator's body; it has the parameters of `cabi_realloc`.
    realloc: &'a str,
    init: &'a str,
    update: &'a str,
    /// Leaves a pointer. Memory from 256 on is all zero: endpoint 0 without alternate, reason and tag.
    pick: &'a str,
    /// More functions and data.
    tail: &'a str,
}

impl Guest<'_> {
    fn core(self) -> String {
        let or = |text: &str, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text.to_owned() };
        let Self { head, tail, .. } = self;
        let bump = "(global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
            (global.get $heap) (global.set $heap (i32.add (global.get $heap) (local.get 3)))";
        let [realloc, init] = [or(self.realloc, bump), or(self.init, "i32.const 64")];
        let [update, pick] = [or(self.update, "i32.const 128"), or(self.pick, "i32.const 256")];
        format!(
            r#"(module {head} (memory (export "memory") 16) (global $heap (mut i32) (i32.const 8192))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
            (func (export "wasmesh:policy/policy@0.1.0#init") (param i32 i32 i32 i32) (result i32) {init})
            (func (export "wasmesh:policy/policy@0.1.0#update") (param i64 i64 i32 i32) (result i32) {update})
            (func (export "wasmesh:policy/policy@0.1.0#pick")
                (param i64 i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) {pick})
            {tail})"#
        )
    }

    fn component(self, encoding: StringEncoding) -> Vec<u8> {
        let mut wasm = wat::parse_str(self.core()).unwrap();
        let mut resolve = wit_parser::Resolve::default();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit");
        let (package, _) = resolve.push_path(&directory).unwrap();
        let world = resolve.select_world(&[package], Some("policy-only")).unwrap();
        wit_component::embed_component_metadata(&mut wasm, &resolve, world, encoding).unwrap();
        ComponentEncoder::default().module(&wasm).unwrap().validate(true).encode().unwrap()
    }

    fn load(self, calls: Calls) -> Arc<Module> {
        let host = Host::start(HostOptions { calls, ..HostOptions::new(Compiler::InProcess) }).unwrap();
        host.load(&self.component(StringEncoding::UTF8)).unwrap()
    }

    fn policy(self, calls: Calls) -> Result<Arc<Policy>, Rejection> {
        Policy::prepare(&self.load(calls), Settings::default(), &about())
    }

    /// An instance with three endpoints, called directly.
    fn instance(self) -> Instance {
        let module = self.load(Calls::DirectIfPossible);
        assert_eq!(module.path(), CallPath::Direct, "{:?}", module.why_component());
        let policy = Policy::prepare(&module, Settings::default(), &about()).unwrap();
        let mut instance = policy.instance(&about()).unwrap();
        support::update(&mut instance, 3);
        instance
    }
}

/// Checks that a guest does not get through its trial, on neither path, and why.
#[track_caller]
fn check_fault(guest: Guest<'_>, expected_call: &str, expected_reason: &str) {
    for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
        match guest.policy(calls).err() {
            Some(Rejection::Fault { call, fault }) => {
                assert_eq!((call, fault.reason()), (expected_call, expected_reason), "{calls:?}: {fault}");
            }
            other => panic!("{calls:?}: {other:?}"),
        }
    }
}

const IMPORTS: &str = r#"
    (import "wasmesh:policy/request-info@0.1.0" "text" (func $text (param i32 i32)))
    (import "wasmesh:policy/request-info@0.1.0" "body" (func $body (param i32)))
    (import "wasmesh:policy/log@0.1.0" "write" (func $log (param i32 i32 i32)))
    (import "wasmesh:policy/stats@0.1.0" "in-flight" (func $in_flight (param i32) (result i32)))
    (import "wasmesh:policy/stats@0.1.0" "available" (func $available (param i32) (result i32)))"#;

#[test]
fn a_guest_that_does_nothing_picks_the_first() {
    for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
        let mut instance = Guest::default().policy(calls).unwrap().instance(&about()).unwrap();
        support::update(&mut instance, 2);
        let first = Decision { choice: Choice::Endpoint(0), alternate: None, reason: 0, tag: 0 };
        assert_eq!(support::pick(&mut instance, 1), first);
    }
}

#[test]
fn answers_that_point_nowhere_are_faults() {
    // 16 pages end at 1048576.
    for pick in ["i32.const 1048568", "i32.const -8", "i32.const -1", "i32.const 260", "i32.const 1048576"] {
        check_fault(Guest { pick, ..Guest::default() }, "pick", "decision");
    }
    for init in ["i32.const 1048572", "i32.const -4", "i32.const 66"] {
        check_fault(Guest { init, ..Guest::default() }, "init", "decision");
    }
    for update in ["i32.const 1048572", "i32.const -4", "i32.const 129"] {
        check_fault(Guest { update, ..Guest::default() }, "update", "decision");
    }
}

#[test]
fn answers_without_a_meaning_are_faults() {
    for store in [
        "(i32.store8 (i32.const 256) (i32.const 4))",
        "(i32.store8 (i32.const 256) (i32.const 255))",
        "(i32.store8 (i32.const 264) (i32.const 2))",
        // reject(200)
        "(i32.store8 (i32.const 256) (i32.const 2)) (i32.store16 (i32.const 260) (i32.const 200))",
    ] {
        let pick = format!("{store} i32.const 256");
        check_fault(Guest { pick: &pick, ..Guest::default() }, "pick", "decision");
    }
    let pick = "(i32.store (i32.const 260) (i32.const 7)) i32.const 256";
    check_fault(Guest { pick, ..Guest::default() }, "pick", "index");
}

#[test]
fn lists_and_strings_that_lie_elsewhere_are_faults() {
    // plan.keys of so many entries at so much.
    let keys = |at: i32, len: i32| {
        format!("(i32.store (i32.const 68) (i32.const {at})) (i32.store (i32.const 72) (i32.const {len})) i32.const 64")
    };
    for init in [keys(0, 0x1000_0000), keys(1_048_572, 1), keys(2, 1), keys(-8, 1)] {
        check_fault(Guest { init: &init, ..Guest::default() }, "init", "decision");
    }
    // One key whose string is out of bounds, and one that is not UTF-8.
    let init = keys(1024, 1);
    for string in
        ["\\f0\\ff\\0f\\00\\20\\00\\00\\00", "\\10\\04\\00\\00\\02\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\ff\\fe"]
    {
        let tail = format!(r#"(data (i32.const 1024) "{string}")"#);
        check_fault(Guest { init: &init, tail: &tail, ..Guest::default() }, "init", "decision");
    }
}

#[test]
fn an_allocator_that_lies_is_a_fault() {
    for realloc in ["i32.const -16", "i32.const 1048570", "i32.const 1", "i32.const -1"] {
        check_fault(Guest { realloc, ..Guest::default() }, "init", "decision");
    }
    check_fault(Guest { realloc: "unreachable", ..Guest::default() }, "init", "trap");
    check_fault(Guest { realloc: "(loop (br 0)) unreachable", ..Guest::default() }, "init", "fuel");
}

#[test]
fn imports_that_are_given_wild_pointers_are_faults() {
    for call in [
        "(call $text (i32.const 0) (i32.const -4))",
        "(call $text (i32.const 0) (i32.const 3))",
        "(call $body (i32.const 1048572))",
        "(call $log (i32.const 0) (i32.const 1048570) (i32.const 100))",
        "(call $log (i32.const 0) (i32.const 0) (i32.const -1))",
        "(call $log (i32.const 9) (i32.const 0) (i32.const 1))",
    ] {
        let pick = format!("{call} i32.const 256");
        let guest = Guest { head: IMPORTS, pick: &pick, ..Guest::default() };
        let module = guest.load(Calls::DirectIfPossible);
        assert_eq!(module.path(), CallPath::Direct, "{:?}", module.why_component());
        // A log that nobody reads is not looked at on the direct path; it is in this test.
        let settings = || Settings { log: Arc::new(Listener), ..Settings::default() };
        for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
            let Err(Rejection::Fault { fault, .. }) = Policy::prepare(&guest.load(calls), settings(), &about()) else {
                panic!("{calls:?}: {call}");
            };
            assert_eq!(fault.reason(), "decision", "{calls:?}: {call}: {fault}");
        }
    }
}

struct Listener;

impl wasmesh_policy_host::LogSink for Listener {
    fn write(&self, _: wasmesh_policy_host::LogLevel, _: &str) {}
}

#[test]
fn stats_of_what_is_not_there_are_all_ones() {
    // Traps unless in-flight(7) is 0xffffffff and available(7) is false.
    let pick = "(if (i32.ne (call $in_flight (i32.const 7)) (i32.const -1)) (then unreachable))
        (if (call $available (i32.const 7)) (then unreachable))
        (if (i32.eqz (call $available (i32.const 0))) (then unreachable))
        i32.const 256";
    for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
        Guest { head: IMPORTS, pick, ..Guest::default() }.policy(calls).unwrap();
    }
}

/// Counts in memory, in a global that is not exported, and in the allocator.
const COUNTER: Guest<'static> = Guest {
    head: "",
    realloc: "",
    init: "",
    update: "",
    pick: "(global.set $count (i64.add (global.get $count) (i64.const 1)))
        (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
        (i64.store (i32.const 280) (i64.add (i64.shl (global.get $count) (i64.const 32))
            (i64.load32_u (i32.const 512))))
        i32.const 256",
    tail: "(global $count (mut i64) (i64.const 0))",
};

#[test]
fn a_revived_instance_counts_on() {
    let mut instance = COUNTER.instance();
    let count = |instance: &mut Instance| {
        let tag = support::pick(instance, 1).tag;
        assert_eq!(tag >> 32, tag & 0xffff_ffff, "memory and globals agree");
        tag & 0xffff_ffff
    };
    assert_eq!((0..5).map(|_| count(&mut instance)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let snapshot = instance.snapshot().unwrap();
    let policy = instance.policy().clone();
    let mut revived = policy.revive(&about(), &snapshot).unwrap();
    assert_eq!(
        revived.pick(&request(1), &NoSource),
        Err(Fault::BadIndex { index: 0, len: 0 }),
        "it has no endpoints before its first update"
    );
    let mut revived = policy.revive(&about(), &snapshot).unwrap();
    revived.update(9, 9, &endpoints(3), Box::new(NoStats)).unwrap();
    assert_eq!(count(&mut revived), 6);
    assert_eq!(count(&mut instance), 6, "the old one goes on by itself");
    assert_eq!(count(&mut policy.instance(&about()).unwrap_or_else(|error| panic!("{error}")).with_endpoints()), 1);
    // A snapshot of something else starts afresh.
    let other = COUNTER.policy(Calls::DirectIfPossible).unwrap();
    assert_eq!(count(&mut other.revive(&about(), &snapshot).unwrap().with_endpoints()), 1);
}

trait WithEndpoints {
    fn with_endpoints(self) -> Self;
}

impl WithEndpoints for Instance {
    fn with_endpoints(mut self) -> Self {
        support::update(&mut self, 3);
        self
    }
}

#[test]
fn memory_that_has_grown_is_revived_too() {
    // Grows by a page with each pick and writes to the end of it.
    let pick = "(drop (memory.grow (i32.const 1)))
        (i32.store (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 4)) (memory.size))
        (i64.store (i32.const 280) (i64.load32_u (i32.const 1114108)))
        i32.const 256";
    let mut instance = Guest { pick, ..Guest::default() }.instance();
    assert_eq!(support::pick(&mut instance, 1).tag, 17);
    let snapshot = instance.snapshot().unwrap();
    let mut revived = instance.policy().clone().revive(&about(), &snapshot).unwrap();
    assert_eq!(revived.memory_bytes(), 17 << 16);
    revived = revived.with_endpoints();
    assert_eq!(support::pick(&mut revived, 1).tag, 17, "what was written is there");
    assert_eq!(revived.memory_bytes(), 18 << 16);
}

#[test]
fn an_instance_that_changes_its_tables_cannot_be_copied() {
    let guest = Guest {
        pick: "(table.set $table (i32.const 0) (ref.func $f)) i32.const 256",
        tail: "(table $table 1 funcref) (func $f) (elem declare func $f)",
        ..Guest::default()
    };
    assert!(guest.instance().snapshot().is_none());
}

#[test]
fn initialize_is_called_before_init() {
    // init traps unless _initialize has left its mark.
    let guest = Guest {
        init: "(if (i32.ne (i32.load (i32.const 512)) (i32.const 42)) (then unreachable)) i32.const 64",
        tail: r#"(func (export "_initialize") (i32.store (i32.const 512) (i32.const 42)))"#,
        ..Guest::default()
    };
    assert_eq!(guest.load(Calls::DirectIfPossible).path(), CallPath::Direct);
    for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
        guest.policy(calls).unwrap();
    }
}

#[test]
fn results_are_given_back_to_the_guest() {
    // post-return counts, and pick tells the count as its tag.
    let guest = Guest {
        pick: "(i64.store (i32.const 280) (i64.load32_u (i32.const 512))) i32.const 256",
        tail: r#"(func (export "cabi_post_wasmesh:policy/policy@0.1.0#pick") (param i32)
            (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1))))"#,
        ..Guest::default()
    };
    for calls in [Calls::DirectIfPossible, Calls::AsComponents] {
        let mut instance = guest.policy(calls).unwrap().instance(&about()).unwrap().with_endpoints();
        let tags: Vec<_> = (0..3).map(|_| support::pick(&mut instance, 1).tag).collect();
        assert_eq!(tags, [0, 1, 2], "{calls:?}");
    }
}

#[test]
fn strings_of_another_encoding_take_the_component_path() {
    let host = Host::start(HostOptions::new(Compiler::InProcess)).unwrap();
    let module = host.load(&Guest::default().component(StringEncoding::UTF16)).unwrap();
    assert_eq!((module.path(), module.why_component()), (CallPath::Component, Some("its strings are not UTF-8")));
    let mut instance =
        Policy::prepare(&module, Settings::default(), &about()).unwrap().instance(&about()).unwrap().with_endpoints();
    assert_eq!(support::pick(&mut instance, 1).choice, Choice::Endpoint(0));
    assert!(instance.snapshot().is_none());
}

#[test]
fn any_bytes_of_a_decision_are_borne_alike() {
    // The decision is made of the request's keys: 32 bytes of the test's choice.
    let pick = "(i64.store (i32.const 256) (local.get 0)) (i64.store (i32.const 264) (local.get 1))
        (i64.store (i32.const 272) (local.get 2)) (i64.store (i32.const 280) (local.get 3)) i32.const 256";
    let guest = Guest { pick, ..Guest::default() };
    let policies = [Calls::DirectIfPossible, Calls::AsComponents].map(|calls| guest.policy(calls).unwrap());
    proptest::proptest!(|(mut hashes: [u64; 4], choice in 0_u8..5, alternate in 0_u8..3, index in 0_u32..4)| {
        hashes[0] = u64::from(choice) | u64::from(index) << 32;
        hashes[1] = hashes[1] << 32 | u64::from(alternate);
        let mut request = request(1);
        request.keys.hashes = hashes;
        let [direct, component] = policies.each_ref().map(|policy| {
            let mut instance = policy.instance(&about()).unwrap().with_endpoints();
            instance.pick(&request, &NoSource).map_err(|fault| fault.reason())
        });
        proptest::prop_assert_eq!(direct, component);
    });
}

//! What becomes a policy, and what is said of what does not.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::path::Path;

use wasmesh_policy_build::component;
use wasmparser::{Parser, Payload};

/// A policy that does nothing, with plain names; `more` is put into it.
fn policy(more: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {more}
            (func (export "init") (param i32 i32 i32 i32) (result i32) (unreachable))
            (func (export "update") (param i64 i64 i32 i32) (result i32) (unreachable))
            (func (export "pick") (param i64 i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) (unreachable))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable)))"#
    );
    wat::parse_str(text).unwrap()
}

const MEMORY: &str = r#"(memory (export "memory") 1)"#;

/// The names of a component's imports and exports.
fn outline(wasm: &[u8]) -> (Vec<String>, Vec<String>) {
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentImportSection(section) if depth == 1 => {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name.name.to_owned()));
            }
            _ => {}
        }
    }
    (imports, exports)
}

fn error(module: &[u8]) -> String {
    component(module).unwrap_err().to_string()
}

#[test]
fn plain_names_become_those_of_the_contract() {
    let stats = r#"(import "wasmesh:policy/stats@0.1.0" "available" (func (param i32) (result i32)))"#;
    let (imports, exports) = outline(&component(&policy(&format!("{stats}{MEMORY}"))).unwrap());
    assert!(imports.iter().all(|name| name.starts_with("wasmesh:policy/")), "{imports:?}");
    assert!(imports.contains(&"wasmesh:policy/stats@0.1.0".to_owned()), "{imports:?}");
    assert_eq!(exports, ["wasmesh:policy/policy@0.1.0"]);
}

#[test]
fn feedback_is_exported_by_who_has_it() {
    let completed = r#"(func (export "completed") (param i64 i64 i32 i32 i32 i32 i64))"#;
    let (_, exports) = outline(&component(&policy(&format!("{MEMORY}{completed}"))).unwrap());
    assert!(exports.contains(&"wasmesh:policy/feedback@0.1.0".to_owned()), "{exports:?}");
}

#[test]
fn wasi_is_answered_inside() {
    let wasi = r#"
        (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_open"
            (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (table 1 funcref) (elem (i32.const 0) func $exit)
        (global i32 (i32.const 1)) (start $begin) (func $begin)
        (data (i32.const 8) "here")"#;
    let (imports, _) = outline(&component(&policy(&format!("{wasi}{MEMORY}"))).unwrap());
    assert!(imports.iter().all(|name| name.starts_with("wasmesh:policy/")), "{imports:?}");
}

#[test]
fn what_is_built_can_be_built_again() {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/built");
    for policy in
        ["rust/error-penalty", "c/ring-hash", "assemblyscript/round-robin", "go/round-robin", "javascript/round-robin"]
    {
        let once = std::fs::read(built.join(policy).with_extension("wasm")).unwrap();
        let again = component(&once).unwrap();
        assert_eq!(outline(&again).1, outline(&once).1, "{policy}");
    }
}

#[test]
fn what_is_missing_or_foreign_is_named() {
    let none = wat::parse_str("(module)").unwrap();
    assert!(error(&none).contains("does not export init, update and pick"), "{}", error(&none));
    let half = wat::parse_str(r#"(module (func (export "pick")))"#).unwrap();
    assert!(error(&half).contains("does not export wasmesh:policy/policy@0.1.0#init"), "{}", error(&half));
    let foreign = policy(&format!(r#"(import "env" "abort" (func)){MEMORY}"#));
    assert!(error(&foreign).contains("imports abort from env"), "{}", error(&foreign));
    assert!(error(&policy("")).contains("does not export memory"), "{}", error(&policy("")));
    let two = policy(&format!("{MEMORY}(memory 1)"));
    assert!(error(&two).contains("has 2 memories"), "{}", error(&two));
    let other = wat::parse_str("(component)").unwrap();
    assert!(error(&other).contains("built against plugins/wit/policy.wit"), "{}", error(&other));
    let wrong = wat::parse_str(
        r#"(module (func (export "init")) (func (export "update")) (func (export "pick"))
            (func (export "cabi_realloc")) (memory (export "memory") 1))"#,
    );
    assert!(error(&wrong.unwrap()).contains("does not fit the contract"));
    assert!(error(b"#!/bin/sh").contains("cannot be read"), "{}", error(b"#!/bin/sh"));
}

#[test]
fn any_cut_and_any_changed_byte_is_borne() {
    let circle = policy(&format!("{MEMORY}(global i32 (i32.const 1)) (global i32 (i32.const 2))"));
    for wasm in [circle, component(&policy(MEMORY)).unwrap()] {
        for at in 0..wasm.len() {
            let _ = component(&wasm[..at]);
            let mut changed = wasm.clone();
            changed[at] ^= 1 << (at % 8);
            let _ = component(&changed);
        }
    }
}

/// A policy as the module of a component, under the contract's names; `more` is put into it.
fn inner(more: &str) -> String {
    let begin = "wasmesh:policy/policy@0.1.0#";
    format!(
        r#"(core module $policy {more}
            (func (export "{begin}init") (param i32 i32 i32 i32) (result i32) (unreachable))
            (func (export "{begin}update") (param i64 i64 i32 i32) (result i32) (unreachable))
            (func (export "{begin}pick") (param i64 i64 i64 i64 i64 i64 i32 i32 i32 i32) (result i32) (unreachable))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable)))"#
    )
}

fn composed(text: &str) -> Result<Vec<u8>, String> {
    component(&wat::parse_str(format!("(component {text})")).unwrap()).map_err(|error| error.to_string())
}

#[test]
fn what_is_only_said_to_be_there_is_not_believed() {
    let module = policy(MEMORY);
    // Before the section of memories, one of tables that says of itself that it has four thousand million.
    let mut at = 8;
    while module[at] < 5 {
        assert!(module[at + 1] < 0x80, "a section of less than 128 bytes");
        at += 2 + usize::from(module[at + 1]);
    }
    let tables = [4, 5, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let lying = [&module[..at], &tables, &module[at..]].concat();
    assert!(error(&lying).contains("cannot be read"), "{}", error(&lying));

    let first =
        format!("(core module $first {MEMORY} (func $f) (elem func $f)) (core instance $first (instantiate $first))");
    let second = inner(r#"(import "first" "memory" (memory 1)) (func (elem.drop 4294967295))"#);
    let overflowing =
        format!(r#"{first}{second}(core instance (instantiate $policy (with "first" (instance $first))))"#);
    let error = composed(&overflowing).unwrap_err();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn a_number_made_of_many_is_worked_out_once() {
    let each = |global: u32| match global.checked_sub(1) {
        None => "(global i32 (i32.const 1))".to_owned(),
        Some(before) => {
            let sum = format!("(global.get {before}) i32.add").repeat(31);
            format!("(global i32 (global.get {before}) {sum})")
        }
    };
    let globals: String = (0..40).map(each).collect();
    component(&policy(&format!("{MEMORY}{globals}"))).unwrap();
}

#[test]
fn nested_components_end_where_they_end() {
    let siblings = "(component)".repeat(20);
    let policy = inner(MEMORY);
    let made = "(core instance (instantiate $policy))";
    composed(&format!("{siblings}{policy}{made}")).unwrap();
    let others = "(core module) (core module) (core module $other)";
    composed(&format!("{others}(component {policy}{made})(core instance (instantiate $other))")).unwrap();
}

#[test]
fn what_fills_in_a_memory_comes_along() {
    let policy = inner(r#"(memory (export "memory") 1) (func (export "begin")) (func (export "_initialize"))"#);
    let made = "(core instance $policy (instantiate $policy))";
    let with = r#"(core instance (instantiate $glue (with "policy" (instance $policy))))"#;
    let glue = |glue: &str| composed(&format!("{policy}{made}(core module $glue {glue}){with}"));
    let filled = glue(r#"(import "policy" "memory" (memory 1)) (data (i32.const 8) "glued to it")"#).unwrap();
    assert!(filled.windows(11).any(|bytes| bytes == b"glued to it"));
    let error = glue(r#"(import "policy" "begin" (func)) (start 0)"#).unwrap_err();
    assert!(error.contains("only for what it does at the start"), "{error}");
    glue(r#"(import "policy" "_initialize" (func)) (start 0)"#).unwrap();
}

#[test]
fn modules_from_elsewhere_and_modules_twice_are_refused() {
    let policy = inner(MEMORY);
    let made = "(core instance (instantiate $policy))";
    let error = composed(&format!(r#"(import "other" (core module)) {policy}{made}"#)).unwrap_err();
    assert!(error.contains("a module that is in another component"), "{error}");
    let error = composed(&format!("{policy}(component $in (alias outer 1 $policy (core module $policy)) {made})"));
    assert!(error.unwrap_err().contains("a module that is in another component"));
    let twice = inner(&format!(r#"(import "a" "f" (func)) (import "b" "f" (func)) {MEMORY}"#));
    let error = composed(&format!(
        r#"(core module $two (func (export "f"))) {twice}
           (core instance $a (instantiate $two)) (core instance $b (instantiate $two))
           (core instance (instantiate $policy (with "a" (instance $a)) (with "b" (instance $b))))"#
    ));
    assert!(error.unwrap_err().contains("the same module more than once"));
}

#[test]
fn a_function_that_is_only_exported_may_be_referred_to() {
    component(&policy(&format!(r#"{MEMORY}(func $f (export "hidden")) (func (drop (ref.func $f)))"#))).unwrap();
}

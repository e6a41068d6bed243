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

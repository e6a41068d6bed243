//! `wasmesh policy new`, `build` and `test`: from nothing to a policy that does what its cases say, in each language, with its
//! real compiler. A compiler that is not there fails the test: the rung `guests` provides them all.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn wasmesh(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmesh")).current_dir(folder).arg("policy").args(args).output().unwrap()
}

fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = wasmesh(folder, args);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {said}{error}");
    said.into_owned()
}

/// Begins a policy, builds it, and holds it against its cases.
fn check(language: &str) {
    let place = tempfile::tempdir().unwrap();
    let name = format!("my-{language}");
    let said = succeeds(place.path(), &["new", &name, "--lang", language]);
    assert!(said.contains("wasmesh policy build"), "{said}");
    let project = place.path().join(&name);
    let built: Value = serde_json::from_str(succeeds(&project, &["build", "--json"]).trim()).unwrap();
    assert_eq!(built["ok"], true, "{built}");
    assert_eq!(built["path"], "direct", "{built}");
    let module = format!("{name}.wasm");
    let said = succeeds(&project, &["test", &module, "cases.yaml"]);
    assert!(said.ends_with("5 cases, 0 failed\n"), "{said}");
}

#[test]
fn a_policy_in_rust() {
    check("rust");
}

#[test]
fn a_policy_in_c() {
    check("c");
}

#[test]
fn a_policy_in_go() {
    check("go");
}

#[test]
fn a_policy_in_assemblyscript() {
    check("assemblyscript");
}

#[test]
fn a_policy_in_javascript() {
    check("javascript");
}

#[test]
fn what_a_compiler_does_not_take_is_shown_and_nothing_is_written() {
    let place = tempfile::tempdir().unwrap();
    succeeds(place.path(), &["new", "broken", "--lang", "c"]);
    let project = place.path().join("broken");
    fs::write(project.join("policy.c"), "int nonsense").unwrap();
    let output = wasmesh(&project, &["build"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("policy.c:1") && error.contains("clang has failed"), "{error}");
    assert!(!project.join("broken.wasm").exists());
}

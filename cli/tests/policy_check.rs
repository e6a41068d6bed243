//! `wasmesh policy check` on policies that may serve and on files that may not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::{Value, json};

fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built").join(name)
}

fn check(file: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmesh")).args(["policy", "check"]).arg(file).args(args).output().unwrap()
}

fn report(file: &Path, args: &[&str]) -> (bool, Value) {
    let output = check(file, &[args, &["--json"]].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), serde_json::from_str(said.lines().last().unwrap()).unwrap())
}

#[test]
fn a_policy_that_may_serve_is_described() {
    let file = built("rust/tenant-shards.wasm");
    let (succeeded, said) = report(&file, &[]);
    assert!(succeeded, "{said}");
    assert_eq!((&said["ok"], &said["path"], &said["feedback"]), (&json!(true), &json!("direct"), &json!(false)));
    assert_eq!(said["bytes"], std::fs::metadata(&file).unwrap().len());
    assert!(!said["keys"].as_array().unwrap().is_empty(), "{said}");
    assert!(said["sha256"].as_str().is_some_and(|digest| digest.len() == 64), "{said}");
    let text = String::from_utf8(check(&file, &[]).stdout).unwrap();
    assert!(text.ends_with("\nIt may serve.\n"), "{text}");
}

#[test]
fn what_may_not_serve_is_refused_with_a_reason_and_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (file, reason) in [
        (write("text.wasm", b"hello"), "not WebAssembly"),
        (write("core.wasm", b"\0asm\x01\0\0\0"), "is a core module, not a component"),
        (built("hostile/foreign-import.wasm"), "which policies do not get"),
        (built("hostile/spin.wasm"), "may not serve"),
        (folder.path().join("nothing.wasm"), "cannot read"),
    ] {
        let (succeeded, said) = report(&file, &[]);
        assert!(!succeeded && said["ok"] == false, "{file:?}: {said}");
        assert!(said["error"].as_str().unwrap().contains(reason), "{file:?}: {said}");
        let output = check(&file, &[]);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(String::from_utf8(output.stderr).unwrap().contains(reason), "{file:?}");
    }
}

#[test]
fn a_configuration_that_is_refused_is_refused_in_the_policys_own_words() {
    let (succeeded, said) = report(&built("rust/tenant-shards.wasm"), &["--config", r#"{"size": 0}"#]);
    assert!(!succeeded, "{said}");
    assert!(said["error"].as_str().unwrap().contains("refuses its configuration"), "{said}");
}

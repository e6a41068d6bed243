//! `wasmesh policy test` on the examples' own cases, and on cases that fail.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn policies() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies")
}

fn test(policy: &str, cases: &Path, args: &[&str]) -> Output {
    test_file(&policies().join("built/rust").join(format!("{policy}.wasm")), cases, args)
}

fn test_file(file: &Path, cases: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmesh"));
    command.args(["policy", "test"]).arg(file).arg(cases).args(args).output().unwrap()
}

#[test]
fn the_examples_do_what_their_cases_say_in_every_language() {
    let entries = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let languages = entries(policies().join("built")).filter(|folder| !folder.ends_with("hostile"));
    for file in languages.flat_map(entries) {
        let policy = file.display();
        let cases = policies().join(file.file_stem().unwrap()).join("cases.yaml");
        let output = test_file(&file, &cases, &[]);
        let said = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.ends_with(" cases, 0 failed\n"), "{policy}: {said}{error}");
    }
}

#[test]
fn each_expectation_can_fail_and_says_what_came_instead() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.yaml");
    let case = |expect: &str| {
        format!("- {{ name: c, times: 100, request: {{ words: {{ 'header:x-canary': 'yes' }} }}, expect: {expect} }}")
    };
    for (expect, problem) in [
        ("{ endpoint: old }", "expected old, got new 100"),
        ("{ only: [old] }", "expected only old, got new 100"),
        ("{ shares: { new: 0.5 } }", "expected a share of 0.5 ± 0.05 for new, got 1.000"),
        ("{ fallback: true }", "expected the built-in policy to choose, got new 100"),
        ("{ reject: 503 }", "expected it to reject with 503, got new 100"),
        ("{ hold: true }", "expected it to hold the request, got new 100"),
        ("{ reason: stable }", "expected the reason stable, got canary"),
        ("{ endpoint: new, shares: { old: 0.5 } }", "expected a share of 0.5 ± 0.05 for old, got 0.000"),
    ] {
        let endpoints = "endpoints: [{ name: old }, { name: new, labels: { version: v2 } }]";
        std::fs::write(&file, format!("config: {{ canary: v2 }}\n{endpoints}\ncases:\n{}\n", case(expect))).unwrap();
        let output = test("canary-by-header", &file, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{expect}");
        let said = String::from_utf8(output.stdout).unwrap();
        let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(report["cases"][0]["problem"], problem, "{expect}");
    }
}

#[test]
fn what_a_sidecar_would_not_take_is_no_endpoint_and_words_are_found_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.yaml");
    let cases = "
config: { canary: v2 }
endpoints: [{ name: old }, { name: new, labels: { version: v2 }, available: false }]
cases:
- { name: gone, request: { words: { 'header:X-Canary': 'yes' } }, expect: { endpoint: new } }
- { name: any, request: { words: { 'header:X-CANARY': 'yes' } }, endpoints: [{ name: new, labels: { version: v2 } }], expect: { reason: canary } }
";
    std::fs::write(&file, cases).unwrap();
    let output = test("canary-by-header", &file, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("FAIL  gone") && said.contains("ok    any"), "{said}");
}

#[test]
fn cases_that_could_not_fail_or_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.yaml");
    for (cases, complaint) in [
        ("cases: []", "there is no case"),
        ("cases: [{ name: c, expect: {} }]", "the case could not fail"),
        ("cases: [{ name: c, expect: { endpoint: x } }]", "there is no endpoint \"x\""),
        ("cases: [{ name: c, times: 0, expect: { fallback: true } }]", "times is 0"),
        (
            "endpoints: [{ name: a }, { name: a }]\ncases: [{ name: c, expect: { same: true } }]",
            "two endpoints are called",
        ),
        ("endpoints: [{ name: a }]\ncases: [{ name: c, expect: { shares: { a: .nan } } }]", "shares are from 0 to 1"),
        ("cases: [{ name: c, request: { words: { 'headers:x': y } }, expect: { fallback: true } }]", "headers:x"),
        ("cases: [{ name: c, expects: { fallback: true } }]", "expects"),
    ] {
        std::fs::write(&file, cases).unwrap();
        let output = test("tenant-shards", &file, &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(complaint), "{cases}: {said}");
    }
}

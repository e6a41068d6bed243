//! `wasmesh policy bench` on the checked-in policies, and on what is none. What it measures is not judged here.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn built(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built").join(name)
}

fn bench(file: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmesh")).args(["policy", "bench"]).arg(file).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn refused(file: &Path, args: &[&str], words: &[&str]) {
    let output = bench(file, args);
    let told = text(&output.stderr);
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{told}");
    assert!(words.iter().all(|word| told.contains(word)), "{told} does not say {words:?}");
}

#[test]
fn the_last_line_is_for_programs() {
    for (component, path) in [(false, "direct"), (true, "component")] {
        let args = if component {
            &["--endpoints", "3", "--json", "--component"][..]
        } else {
            &["--endpoints", "3", "--json"]
        };
        let output = bench(&built("c/ring-hash.wasm"), args);
        let told = text(&output.stderr);
        assert!(output.status.success(), "{told}");
        let report: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
        assert_eq!(
            (&report["policy"], &report["endpoints"], &report["path"]),
            (&"ring-hash".into(), &3.into(), &path.into())
        );
        for figure in
            ["/pick_ns/median", "/pick_ns/p99", "/native_pick_ns/median", "/compile_ms", "/rebuild_us", "/instance_kib"]
        {
            assert!(report.pointer(figure).and_then(Value::as_f64) > Some(0.0), "{figure} in {report}");
        }
        assert!(told.contains("path, hashed for each pick") && told.contains("the built-in ring-hash"), "{told}");
    }
}

#[test]
fn several_policies_are_one_table() {
    let files = ["rust", "c"].map(|language| built(&format!("{language}/round-robin.wasm")));
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmesh"));
    let output = command.args(["policy", "bench", "--endpoints", "3", "--json"]).args(files).output().unwrap();
    let (said, told) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}");
    assert!(told.contains("| rust/round-robin |") && told.contains("| c/round-robin |"), "{told}");
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    for at in 0..2 {
        for figure in ["bytes", "pick_ns/median", "compile_ms"] {
            let figure = format!("/policies/{at}/{figure}");
            assert!(report.pointer(&figure).and_then(Value::as_f64) > Some(0.0), "{figure} in {report}");
        }
    }
}

/// Each instance has a ring of half a mebibyte, made before the old one is given up.
#[test]
fn instances_with_much_memory_are_measured_too() {
    let output = bench(&built("rust/bounded-load-hash.wasm"), &["--endpoints", "100", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: Value = serde_json::from_str(text(&output.stdout).lines().last().unwrap()).unwrap();
    assert!(report["instance_kib"].as_f64() > Some(500.0), "{report}");
}

#[test]
fn what_cannot_be_measured_is_explained() {
    refused(Path::new(env!("CARGO_MANIFEST_DIR")), &[], &["is not a file"]);
    refused(Path::new("none.wasm"), &[], &["cannot read none.wasm", "No such file"]);
    refused(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"), &[], &["Cargo.toml is not WebAssembly"]);
    refused(&built("rust/canary-by-header.wasm"), &[], &["refuses its configuration", "canary must say"]);
    refused(&built("hostile/spin.wasm"), &[], &["may not serve", "used up its fuel"]);
    let core_module = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(core_module.path(), b"\0asm\x01\0\0\0").unwrap();
    refused(core_module.path(), &[], &["is a core module", "wasmesh policy build"]);
    std::fs::write(core_module.path(), vec![0; (4 << 20) + 1]).unwrap();
    refused(core_module.path(), &[], &["is too large", "4194305"]);
}

#[test]
fn the_options_are_checked() {
    for args in [["--endpoints", "0"], ["--endpoints", "100001"], ["--config", "[]"], ["--config", "{"]] {
        let output = bench(&built("c/ring-hash.wasm"), &args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", text(&output.stderr));
    }
}

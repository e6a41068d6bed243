//! `wasmesh policy build` on modules that are there, and what it says when it cannot build.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn policy(args: &[&str], folder: &Path, path: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wasmesh"));
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.current_dir(folder).arg("policy").args(args).output().unwrap()
}

fn fails(args: &[&str], folder: &Path, path: Option<&Path>) -> String {
    let output = policy(args, folder, path);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_module_that_is_there_is_made_a_component_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built/c/round-robin.wasm");
    let output = policy(&["build", built.to_str().unwrap(), "-o", "mine.wasm"], folder.path(), None);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.ends_with("It may serve.\n"), "{output:?}");
    assert!(folder.path().join("mine.wasm").exists());
}

#[test]
fn what_cannot_be_built_is_told_with_what_to_do() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let error = fails(&["build"], folder, None);
    assert!(error.contains("has no policy to build") && error.contains("wasmesh policy new"), "{error}");
    let error = fails(&["build", "typo"], folder, None);
    assert!(error.contains("cannot build typo: expected a folder of sources, or a module"), "{error}");
    fs::write(folder.join("text.wasm"), "no wasm").unwrap();
    assert!(fails(&["build", "text.wasm"], folder, None).contains("-o NAME.wasm"));
    let error = fails(&["build", "text.wasm", "-o", "x.wasm"], folder, None);
    assert!(error.contains("text.wasm is no policy: it cannot be read as WebAssembly"), "{error}");
    assert!(!folder.join("x.wasm").exists());
    for from in [".", "typo", "text.wasm"] {
        let output = policy(&["build", from, "-o", "x.wasm", "--json"], folder, None);
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(said["ok"] == false && said["error"].is_string() && !output.status.success(), "{from}: {said}");
    }
}

#[test]
fn a_compiler_that_is_not_there_is_named_with_what_to_install() {
    let nothing = tempfile::tempdir().unwrap();
    for (language, expected) in [
        ("rust", "https://rustup.rs"),
        ("c", "apt-get install clang lld"),
        ("go", "https://go.dev/dl"),
        ("assemblyscript", "Node.js 20"),
        ("javascript", "Node.js 20"),
    ] {
        let place = tempfile::tempdir().unwrap();
        assert!(policy(&["new", "mine", "--lang", language], place.path(), None).status.success());
        let error = fails(&["build", "mine"], place.path(), Some(nothing.path()));
        assert!(error.contains("there is no program") && error.contains(expected), "{language}: {error}");
    }
}

#[test]
fn a_project_is_begun_in_a_new_folder_only() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("mine")).unwrap();
    assert!(fails(&["new", "mine", "--lang", "go"], place.path(), None).contains("already"));
    let error = fails(&["new", "mine", "--lang", "python"], place.path(), None);
    assert!(error.contains("rust, c, go, assemblyscript, javascript"), "{error}");
}

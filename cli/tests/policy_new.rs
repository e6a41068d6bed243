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
    // Without what `go env -w` has written on this machine: it might be just what makes a build succeed.
    let mut wasmesh = Command::new(env!("CARGO_BIN_EXE_wasmesh"));
    wasmesh.current_dir(folder).env("GOENV", "off").arg("policy").args(args).output().unwrap()
}

fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = wasmesh(folder, args);
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {said}{error}");
    said.into_owned()
}

/// What stands between two lines of a page.
fn between<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n{begin}\n")).unwrap_or_else(|| panic!("no {begin}"));
    rest.split_once(&format!("\n{end}\n")).unwrap_or_else(|| panic!("no {end} after {begin}")).0
}

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policies").join(name)).unwrap()
}

/// The policy that the language's page shows, and where it goes.
fn shown(language: &str) -> (&'static str, String) {
    let of = |name: &str, fence: &str| {
        let page = page(name);
        let (_, below) = page.split_once("\n## A policy\n").unwrap();
        between(below, fence, "```").to_owned()
    };
    match language {
        "rust" => ("src/lib.rs", between(&page("tutorial.md"), "cat > src/lib.rs <<'END'", "END").to_owned()),
        "c" => ("policy.c", of("c.md", "```c")),
        "go" => ("policy.go", of("go.md", "```go")),
        "assemblyscript" => ("policy.ts", of("assemblyscript.md", "```ts")),
        _ => ("policy.js", of("javascript.md", "```js")),
    }
}

/// Begins a policy, builds it, and holds it against its cases; then the same with the policy of the language's page and the cases of the
/// tutorial.
fn check(language: &str) {
    let place = tempfile::tempdir().unwrap();
    // What lies around a project is nobody's business: a repository that cannot be asked, a workspace of others.
    fs::create_dir(place.path().join(".git")).unwrap();
    fs::write(place.path().join("go.work"), "go 1.26\n").unwrap();
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

    let (file, program) = shown(language);
    fs::write(project.join(file), program + "\n").unwrap();
    fs::write(project.join("cases.yaml"), between(&page("tutorial.md"), "cat > cases.yaml <<'END'", "END")).unwrap();
    succeeds(&project, &["build"]);
    let said = succeeds(&project, &["test", &module, "cases.yaml"]);
    assert!(said.ends_with("3 cases, 0 failed\n"), "{language}: {said}");
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

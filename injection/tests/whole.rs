//! A pod as it comes out, as a whole.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod common;

use std::{fs, path::Path};

use common::{injected, opted_in, settings};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use wasmesh_injection::{Decision, Leave, inject};

/// Set it to write what comes out as what is expected.
const WRITE: &str = "WRITE_EXPECTED";

fn read(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pods").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_pod_comes_out_as_expected() {
    let pod = injected(&read("web.json")).pod;
    if std::env::var_os(WRITE).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pods/web.injected.json");
        fs::write(path, format!("{pod:#}\n")).unwrap();
    }
    let expected = read("web.injected.json");
    assert_eq!(pod, expected, "if this is meant, run with {WRITE}=1 and read the difference");
}

/// A misspelt field would vanish: Kubernetes drops what it does not know.
#[test]
fn kubernetes_knows_every_field() {
    let pod = injected(&read("web.json")).pod;
    let known: Pod = serde_json::from_value(pod.clone()).unwrap();
    assert_eq!(serde_json::to_value(known).unwrap(), pod);
}

#[test]
fn a_pod_is_injected_once() {
    let pod = injected(&read("web.json")).pod;
    assert_eq!(inject(&pod, &opted_in(), &settings()), Decision::Leave(Leave::AlreadyInjected, Vec::new()));
}

//! `wasmesh policy simulate` on the scenarios that are shipped. What it is worth shows in the tests of the simulation itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")
}

fn simulate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wasmesh")).args(["policy", "simulate"]).args(args).output().unwrap()
}

/// A scenario that is shipped, for some seconds only.
fn short(folder: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(plugins().join("scenarios").join(name)).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, text.replace("seconds: 60", "seconds: 6")).unwrap();
    file.display().to_string()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_a_module_plays_like_its_built_in_twin() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = short(folder.path(), "one-slow.yaml");
    let module = plugins().join("policies/built/rust/least-request.wasm").display().to_string();
    let played = |plot: &str| {
        let plot = folder.path().join(plot);
        let args = ["--scenario", &scenario, "--seed", "5", "--json", "--plot", plot.to_str().unwrap()];
        let output = simulate(&[&[module.as_str()], &args[..]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.stdout, std::fs::read(plot).unwrap())
    };
    let (report, picture) = played("one.svg");
    assert_eq!((report.clone(), picture.clone()), played("two.svg"));
    assert!(picture.starts_with(b"<svg ") && picture.ends_with(b"</svg>\n"));
    let report: Value = serde_json::from_slice(&report).unwrap();
    let [module, twin] = &report["policies"].as_array().unwrap()[..] else { panic!("{report}") };
    for figure in ["requests", "p50_ms", "p99_ms", "max_to_mean_load", "cross_zone_share", "errors"] {
        assert_eq!(module[figure], twin[figure], "{figure} in {report}");
    }
    assert!(module["requests"].as_u64() > Some(8_000) && module["faults"] == 0, "{report}");
}

#[test]
fn going_by_the_key_fills_caches_better() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = short(folder.path(), "cache-tier.yaml");
    let output = simulate(&["--scenario", &scenario, "--against", "least-request,ring-hash", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rate = |at: usize| report["policies"][at]["hit_rate"].as_f64().unwrap();
    assert!(rate(1) > rate(0) + 0.1, "{report}");
}

#[test]
fn every_scenario_that_is_shipped_plays() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(plugins().join("scenarios")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let output = simulate(&["--scenario", &short(folder.path(), &name)]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("p99"), "{name}: {said}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wrong.yaml");
    std::fs::write(&file, "seconds: 1\nclients: { sidecars: 0, requestsPerSecond: 1 }\nendpoints: []\n").unwrap();
    for (scenario, complaint) in
        [(file.to_str().unwrap(), "wrong.yaml: clients.sidecars is 0"), ("nothing.yaml", "cannot read nothing.yaml")]
    {
        let output = simulate(&["--scenario", scenario]);
        assert!(output.status.code() == Some(1) && output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains(complaint), "{output:?}");
    }
}

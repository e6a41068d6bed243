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

/// An example on a scenario that is shipped for it, for so many seconds, and built-in policies beside it: what `--json` says of each.
fn played(name: &str, seconds: u32, config: &str, against: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("scenario.yaml");
    let text = std::fs::read_to_string(plugins().join("scenarios").join(name).with_extension("yaml")).unwrap();
    let rest = text.split_once("\nseconds: ").unwrap().1.split_once('\n').unwrap().1;
    std::fs::write(&scenario, format!("seconds: {seconds}\n{rest}")).unwrap();
    let module = plugins().join("policies/built/rust").join(name).with_extension("wasm");
    let paths = [module.to_str().unwrap(), "--scenario", scenario.to_str().unwrap()];
    let output = simulate(&[&paths[..], &["--json", "--config", config, "--against", against]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report["policies"].as_array().unwrap().clone();
    assert!(rows[0]["faults"] == 0 && rows[0]["refused_lists"] == 0, "{report}");
    rows
}

fn figure(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("no {name} in {row}"))
}

/// How many requests had this reason.
fn reason(row: &Value, name: &str) -> f64 {
    let reasons = row["reasons"].as_array().unwrap().iter();
    reasons.filter(|reason| reason["reason"] == name).map(|reason| figure(reason, "requests")).sum()
}

#[test]
fn bodies_reports_and_newcomers_follow_from_the_seed_too() {
    for name in ["prefix-affinity", "slow-start-ewma", "grpc-method-routing"] {
        let [one, again] = [(); 2].map(|()| played(name, 17, "{}", "least-request"));
        assert_eq!(one, again, "{name}");
    }
}

#[test]
fn bounded_loads_keep_the_hottest_endpoint_within_its_bound_and_a_plain_ring_does_not() {
    let [bounded, ring] = &played("bounded-load-hash", 10, "{}", "ring-hash")[..] else { panic!() };
    // The bound is 1.25; each of the two proxies rounds its part up.
    assert!(figure(bounded, "max_to_mean_in_flight") < 1.3, "{bounded}");
    assert!(figure(ring, "max_to_mean_in_flight") > 2.0, "{ring}");
    assert!(figure(bounded, "p99_ms") < figure(ring, "p99_ms") / 4.0, "{bounded} {ring}");
}

#[test]
fn prefix_affinity_hits_more_than_least_request_and_is_not_sunk_by_what_is_popular_as_a_ring_is() {
    let rows = played("prefix-affinity", 15, "{}", "least-request,ring-hash");
    let [affinity, least, ring] = &rows[..] else { panic!() };
    assert!(figure(affinity, "hit_rate") > figure(least, "hit_rate") + 0.2, "{affinity} {least}");
    assert!(figure(affinity, "p99_ms") < figure(least, "p99_ms").min(figure(ring, "p99_ms")), "{rows:?}");
    let blind = &played("prefix-affinity", 15, r#"{"report": "another"}"#, "random")[0];
    assert!(figure(affinity, "p99_ms") < figure(blind, "p99_ms"), "reports help: {affinity} {blind}");
    assert!(figure(blind, "hit_rate") > figure(least, "hit_rate") + 0.2, "and without them it still hits: {blind}");
}

#[test]
fn slow_start_spares_whoever_is_new_and_a_penalty_avoids_whoever_fails_fast() {
    let [slow_start, ewma] = &played("slow-start-ewma", 30, "{}", "peak-ewma")[..] else { panic!() };
    assert!(figure(slow_start, "p99_ms") < figure(ewma, "p99_ms") / 4.0, "{slow_start} {ewma}");
    let [slow_start, ewma] = &played("slow-start-ewma", 60, "{}", "peak-ewma")[..] else { panic!() };
    assert!(figure(slow_start, "errors") < figure(ewma, "errors") / 2.0, "{slow_start} {ewma}");
}

#[test]
fn methods_go_to_those_that_serve_them() {
    let config = r#"{"/shop.Orders/Put": "leader", "*": "replica, leader"}"#;
    let [routed, least] = &played("grpc-method-routing", 60, config, "least-request")[..] else { panic!() };
    let rejected = reason(routed, "nobody-for-it (rejected)");
    assert!(rejected > 0.0 && figure(routed, "errors") == rejected, "while there is no leader: {routed}");
    assert!(figure(least, "errors") > rejected * 4.0, "{least}");
}

#[test]
fn zones_take_the_shares_that_were_asked_for() {
    let [weighted, least] = &played("weighted-zones", 30, r#"{"eu-1": 80, "eu-2": 20}"#, "least-request")[..] else {
        panic!()
    };
    assert!((figure(&weighted["by_zone"], "eu-1") - 0.8).abs() < 0.01, "{weighted}");
    assert!((figure(&least["by_zone"], "eu-1") - 0.5).abs() < 0.02, "{least}");
    assert!(figure(weighted, "p99_ms") < figure(least, "p99_ms") * 1.1, "{weighted} {least}");
}

#[test]
fn only_those_who_ask_for_the_new_version_see_its_errors() {
    let [canary, least] = &played("canary-by-header", 40, r#"{"canary": "v2"}"#, "least-request")[..] else { panic!() };
    assert!(figure(canary, "errors") <= reason(canary, "canary"), "{canary}");
    assert!(figure(canary, "errors") < figure(least, "errors") / 2.0, "{canary} {least}");
}

#[test]
fn a_noisy_tenant_is_heard_in_its_shard_only() {
    let [shards, least] = &played("tenant-shards", 20, "{}", "least-request")[..] else { panic!() };
    assert!(figure(shards, "p90_ms") < figure(least, "p90_ms") / 10.0, "{shards} {least}");
}

#[test]
fn requests_stay_in_their_zone_as_long_as_that_costs_no_time() {
    let [spillover, least] = &played("zone-spillover", 60, r#"{"limit": 1}"#, "least-request")[..] else { panic!() };
    assert!(figure(spillover, "cross_zone_share") < 0.1, "{spillover}");
    assert!(figure(least, "cross_zone_share") > 0.4, "{least}");
    assert!(figure(spillover, "p99_ms") < figure(least, "p99_ms") * 1.1, "{spillover} {least}");
    let held = &played("zone-spillover", 60, "{}", "random")[0];
    assert!(
        figure(held, "p99_ms") > figure(spillover, "p99_ms") * 4.0,
        "without a limit the zone is overloaded: {held}"
    );
}

#[test]
fn errors_drive_requests_away() {
    let [penalty, least] = &played("error-penalty", 20, "{}", "least-request")[..] else { panic!() };
    assert!(figure(penalty, "errors") < figure(least, "errors") / 4.0, "{penalty} {least}");
}

#[test]
fn reports_tell_what_a_sidecar_cannot_see() {
    let [reported, least] = &played("least-reported", 20, r#"{"report": "queue"}"#, "least-request")[..] else {
        panic!()
    };
    assert!(figure(reported, "p99_ms") < figure(least, "p99_ms") / 1.5, "{reported} {least}");
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

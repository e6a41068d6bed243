//! `cargo xtask bench module`: what the traffic of a sidecar with little CPU time and memory notices of a large module that comes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::arena::Arena;
use super::backends;
use super::container::{Container, Limits};
use super::measure::Protocol;
use super::options::Bench;
use super::peers::wasmesh::{self, Contained};
use super::stats::Spread;
use super::tool::Tool;

/// What a careful platform gives a sidecar.
const LIMITS: Limits = Limits { cpu_millis: 100, memory_bytes: 64 << 20 };
/// Of a build that does not optimise.
const LIMITS_OF_DEBUG: Limits = Limits { cpu_millis: 1000, memory_bytes: 512 << 20 };
/// A round robin made by Go's compiler, with its run time.
const MODULE: &str = "go/round-robin.wasm";
const SMALL_MODULE: &str = "rust/least-request.wasm";

/// Exchanges that begin in a second, and on how many connections at most: about a tenth of the CPU time that there is.
const RATE: u32 = 200;
const CONNECTIONS: u32 = 16;
/// How long its traffic is watched at a time.
const WATCH_SECONDS: f64 = 10.0;
/// How long a module may take to be there.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn measure(options: &Bench, arena: &Arena) -> Result<Vec<Value>> {
    let (limits, module) = if options.quick { (LIMITS_OF_DEBUG, SMALL_MODULE) } else { (LIMITS, MODULE) };
    let module = Path::new(wasmesh::BUILT).join(module);
    let module_bytes = std::fs::metadata(&module).with_context(|| format!("no {}", module.display()))?.len();
    let _backends = backends::start(arena, Protocol::Http)?;
    let container = Container::new(limits)?;
    let proxy = Contained::start(arena, &container)?;
    let seconds = if options.quick { options.seconds } else { WATCH_SECONDS };

    let throttled = container.throttled();
    let before = (0..options.rounds).map(|_| watch(arena, seconds)).collect::<Result<Vec<_>>>()?;
    let throttled_before = container.throttled();
    let begun = Instant::now();
    proxy.set_module(arena, &module)?;
    let mut during = Vec::new();
    let arrival = loop {
        let report = watch(arena, seconds)?;
        let waited = begun.elapsed().as_secs();
        eprintln!("xtask: {waited} s: p50 {} µs, p99 {} µs", report["p50_us"], report["p99_us"]);
        during.push(report);
        if proxy.is_programmed() {
            break begun.elapsed();
        }
        let policies = proxy.policies()?;
        ensure!(
            begun.elapsed() < PATIENCE && !policies.contains("not compiled"),
            "the module has not come: {policies}"
        );
    };
    let throttled_after = container.throttled();
    let version = wasmesh::PEER.version(arena);
    let result = |measure: &str, watched: &[Value], throttled: Option<u64>| {
        let sum = |name: &str| watched.iter().filter_map(|report| report[name].as_u64()).sum::<u64>();
        let spread = |name: &str| Spread::of(watched.iter().filter_map(|report| report[name].as_f64()));
        let us = |us: Option<f64>| us.map(f64::round);
        let errors = watched.iter().find_map(|report| report["first_error"].as_str());
        json!({
            "measure": measure, "proxy": wasmesh::PEER.name, "version": version,
            "cpu_limit_millis": limits.cpu_millis, "memory_limit_kib": limits.memory_bytes / 1024,
            "module_bytes": module_bytes, "requests": sum("requests"),
            // Of each ten seconds, and of these the median and the worst.
            "p50_us": us(spread("p50_us").map(|spread| spread.median)),
            "p99_us": us(spread("p99_us").map(|spread| spread.median)),
            "p99_us_max": us(spread("p99_us").map(|spread| spread.max)),
            "throttled_periods": throttled,
            "errors": sum("errors"), "error": errors,
        })
    };
    let passed = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
    let mut results = vec![
        result("module-before", &before, passed(throttled, throttled_before)),
        result("module-arrival", &during, passed(throttled_before, throttled_after)),
    ];
    if let Some(arrived) = results.last_mut() {
        arrived["seconds"] = json!((arrival.as_secs_f64() * 10.0).round() / 10.0);
        arrived["memory_peak_kib"] = json!(container.memory_peak_kib());
        arrived["oom_kills"] = json!(container.oom_kills());
    }
    Ok(results)
}

/// Loads the Service for a while, as an application does that has other things to do as well.
fn watch(arena: &Arena, seconds: f64) -> Result<Value> {
    let mut args: Vec<_> = ["load", "--exchange=http", "--warm-up=0"].map(str::to_owned).into();
    args.extend([format!("--connections={CONNECTIONS}"), format!("--rate={RATE}"), format!("--seconds={seconds}")]);
    args.extend(wasmesh::PEER.targets().into_iter().map(|target| format!("--to={target}")));
    let mut load = Tool::start(arena, &args)?;
    load.line()?;
    load.go()?;
    let report = serde_json::from_str(&load.line()?)?;
    load.end()?;
    Ok(report)
}

//! `cargo xtask bench start`: how large the sidecar is, and how soon it is there.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::arena::Arena;
use super::measure::Protocol;
use super::options::Bench;
use super::peers::{Others, Setup, wasmesh};
use super::stats::Spread;

/// As many Services as a large cluster has.
const OTHERS: Others = Others { services: 999, endpoints: 10 };

pub(super) fn measure(options: &Bench, arena: &Arena) -> Result<Vec<Value>> {
    let setup = Setup { protocol: Protocol::Http, connections: 1, others: OTHERS };
    let starts = wasmesh::starts(arena, &setup, options.rounds)?;
    let starts = Spread::of(starts.iter().map(|took| took.as_secs_f64() * 1e6)).context("nothing was started")?;
    let version = wasmesh::PEER.version(arena);
    let result = |measure: &str, figures: [(&str, Value); 3]| {
        let mut result = json!({ "measure": measure, "proxy": wasmesh::PEER.name, "version": version });
        figures.into_iter().for_each(|(name, figure)| result[name] = figure);
        (result["errors"], result["error"]) = (json!(0), Value::Null);
        result
    };
    let us = |us: f64| json!(us.round());
    let of_starts =
        [("p50_us", us(starts.median)), ("max_us", us(starts.max)), ("services", json!(OTHERS.services + 1))];
    let (whole, stripped) = sizes(arena)?;
    let of_size = [("bytes", json!(stripped)), ("bytes_with_symbols", json!(whole)), ("rounds", json!(1))];
    Ok(vec![result("start", of_starts), result("size", of_size)])
}

/// Bytes of the binary as it is built, and without its symbols, as it is shipped.
fn sizes(arena: &Arena) -> Result<(u64, u64)> {
    let (whole, stripped) = (arena.path(wasmesh::PROXY), arena.path("stripped"));
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(&whole).status().context("cannot run strip")?;
    ensure!(status.success(), "strip fails");
    Ok((fs::metadata(whole)?.len(), fs::metadata(stripped)?.len()))
}

//! `cargo xtask bench instructions`: what a request costs ourselves in instructions, which do not depend on the machine's mood; with
//! the built-in policy, and with the same as a module.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::arena::Arena;
use super::backends;
use super::counted::Counted;
use super::measure::Protocol;
use super::options::Bench;
use super::peers::{Others, Peer, Setup, wasmesh};
use super::process::Process;
use super::stats::Spread;
use super::tool::Tool;

/// Before the first instruction is counted: connections are open then, and all that is run is known to the counter.
const WARM_UP: &str = "--warm-up=3";

/// A proxy under the counter, and what was counted for a request in each round.
struct Row {
    peer: &'static Peer,
    connections: usize,
    instructions: Vec<(usize, f64)>,
    requests: u64,
    errors: u64,
    error: Option<String>,
}

pub(super) fn measure(options: &Bench, arena: &Arena) -> Result<Vec<Value>> {
    let _backends = backends::start(arena, Protocol::Http)?;
    let setup = Setup { protocol: Protocol::Http, connections: 1, others: Others::default() };
    let mut rows = Vec::new();
    for peer in options.peers() {
        let counted = Counted::new(arena, peer.name)?;
        let running = wasmesh::start_under(arena, &setup, peer, counted.wrapper())?;
        let proxy = running.measured.as_ref().context("a proxy was started")?;
        counted.begin(proxy)?;
        for connections in &options.connections {
            let mut row =
                Row { peer, connections: *connections, instructions: Vec::new(), requests: 0, errors: 0, error: None };
            for round in 0..options.rounds {
                eprintln!("xtask: {}, {connections} connections, round {}", peer.name, round + 1);
                row.count(round, arena, options, &counted, proxy)?;
            }
            rows.push(row);
        }
    }
    let version = wasmesh::PEER.version(arena);
    Ok(rows.iter().map(|row| row.result(&rows, &version)).collect())
}

impl Row {
    fn count(
        &mut self,
        round: usize,
        arena: &Arena,
        options: &Bench,
        counted: &Counted,
        proxy: &Process,
    ) -> Result<()> {
        let mut args: Vec<_> = ["load", "--exchange=http", WARM_UP].map(str::to_owned).into();
        args.extend([format!("--connections={}", self.connections), format!("--seconds={}", options.seconds)]);
        args.extend(self.peer.targets().into_iter().map(|target| format!("--to={target}")));
        let mut load = Tool::start(arena, &args)?;
        load.line()?;
        counted.zero(proxy)?;
        load.go()?;
        let report: Value = serde_json::from_str(&load.line()?)?;
        let instructions = counted.count(proxy)?;
        load.end()?;
        let number = |name: &str| report[name].as_u64().with_context(|| format!("a report without {name}"));
        let requests = number("requests")?;
        self.requests += requests;
        self.errors += number("errors")?;
        self.error = self.error.take().or_else(|| report["first_error"].as_str().map(str::to_owned));
        if requests > 0 {
            self.instructions.push((round, instructions as f64 / requests as f64));
        }
        Ok(())
    }

    fn result(&self, rows: &[Self], version: &str) -> Value {
        let native = |row: &&Self| row.peer.name == wasmesh::PEER.name && row.connections == self.connections;
        let native = rows.iter().find(native).map_or(&[][..], |row| &row.instructions);
        let beside = Spread::of_pairs(&self.instructions, native, |ours, native| ours / native);
        let instructions = Spread::of(self.instructions.iter().map(|(_, instructions)| *instructions));
        json!({
            "measure": "instructions", "proxy": self.peer.name, "version": version, "connections": self.connections,
            "instructions_per_request": instructions.map(|spread| spread.median.round()),
            "instructions_per_request_min": instructions.map(|spread| spread.min.round()),
            "instructions_per_request_max": instructions.map(|spread| spread.max.round()),
            "instructions_to_wasmesh": beside.map(|spread| (spread.median * 1000.0).round() / 1000.0),
            "requests": self.requests, "rounds": self.instructions.len(), "errors": self.errors, "error": self.error,
        })
    }
}

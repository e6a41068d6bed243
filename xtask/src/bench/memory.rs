//! `cargo xtask bench memory`: what a proxy keeps in memory, for connections and for the mesh around it.
//!
//! Each figure is of a process that was started for it: what was freed before may be kept for later by an allocator, and would
//! hide what is needed now.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::accounting;
use super::arena::Arena;
use super::backends::{self, ADDRESSES};
use super::measure::Protocol;
use super::options::Bench;
use super::peers::{Others, Peer, Running, Setup, wasmesh};
use super::process::Process;
use super::stats::Spread;
use super::tool::Tool;

/// After so long a proxy has given back what it gives back.
const SETTLE: Duration = Duration::from_secs(1);
/// How many Services there are beside the one that is measured, and endpoints of each.
const MESHES: [Others; 3] = [
    Others { services: 0, endpoints: 0 },
    Others { services: 999, endpoints: 10 },
    Others { services: 9_999, endpoints: 10 },
];

/// One figure, over all rounds.
struct Figure {
    measure: &'static str,
    proxy: &'static str,
    version: String,
    connections: usize,
    services: usize,
    rss: Vec<f64>,
    /// More than there was before what is measured came.
    added: Vec<f64>,
    error: Option<String>,
}

/// Resident memory in KiB, and what it was before.
struct Reading {
    measure: &'static str,
    rss: u64,
    before: u64,
}

/// Measures everything in all rounds. What fails is told in its result.
pub(super) fn measure(options: &Bench, arena: &Arena) -> Result<Vec<Value>> {
    let most = connections_at_most().unwrap_or(usize::MAX);
    let connections: Vec<_> = options.connections.iter().map(|connections| (*connections).min(most)).collect();
    if connections != options.connections {
        eprintln!("xtask: with so few open files as are allowed here (ulimit -Hn), {most} connections are the most");
    }
    let _backends = backends::start_holding(arena).context("the backends do not start")?;
    let mut figures: Vec<Figure> = Vec::new();
    for round in 0..options.rounds {
        for peer in options.peers().into_iter().filter(|peer| arena.missing(peer).is_none()) {
            for connections in &connections {
                eprintln!("xtask: round {}/{}: {}, {connections} connections", round + 1, options.rounds, peer.name);
                let readings = of_connections(arena, peer, *connections);
                take(&mut figures, arena, peer, (*connections, 1), CONNECTIONS, &readings);
            }
            let mut empty = None;
            let meshes = MESHES.iter().take(if options.quick { 2 } else { MESHES.len() });
            for others in meshes.filter(|_| peer.is_ours()) {
                eprintln!(
                    "xtask: round {}/{}: {}, {} services",
                    round + 1,
                    options.rounds,
                    peer.name,
                    others.services + 1
                );
                let readings = of_mesh(arena, peer, *others)
                    .map(|rss| vec![Reading { measure: MESH[0], rss, before: *empty.get_or_insert(rss) }]);
                take(&mut figures, arena, peer, (0, others.services + 1), &MESH, &readings);
            }
        }
    }
    Ok(figures.iter().map(Figure::result).collect())
}

/// A proxy needs two for each connection on which a request is under way, and some for itself.
fn connections_at_most() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let hard: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(hard.saturating_sub(500) / 2)
}

const CONNECTIONS: &[&str] = &["memory-idle", "memory-active", "memory-after"];
const MESH: [&str; 1] = ["memory-mesh"];

/// With connections on which nothing is asked, on each of which a request is under way, and after these were answered.
fn of_connections(arena: &Arena, peer: &Peer, connections: usize) -> Result<Vec<Reading>> {
    let running = peer.start(arena, &Setup { protocol: Protocol::Http, connections, others: Others::default() })?;
    let measured = running.measured.as_ref().context("nobody to measure")?;
    // So that what is made on first use is there.
    exchange_once(arena, &peer.targets().iter().cycle().take(6).cloned().collect::<Vec<_>>())?;
    let before = rss(measured);
    let mut client = connect(arena, &peer.targets(), connections)?;
    let mut readings = Vec::new();
    for measure in CONNECTIONS {
        client.line().with_context(|| format!("{measure}, {connections} connections"))?;
        readings.push(Reading { measure, rss: rss(measured), before });
        client.go()?;
    }
    client.end()?;
    Ok(readings)
}

/// At rest, some of its Services having been used.
fn of_mesh(arena: &Arena, peer: &Peer, others: Others) -> Result<u64> {
    let running: Running = peer.start(arena, &Setup { protocol: Protocol::Http, connections: 1, others })?;
    let measured = running.measured.as_ref().context("nobody to measure")?;
    let used = wasmesh::used().take(others.services).map(|(vip, _)| format!("{vip}:80"));
    exchange_once(arena, &used.chain(peer.targets()).collect::<Vec<_>>())?;
    Ok(rss(measured))
}

fn exchange_once(arena: &Arena, targets: &[String]) -> Result<()> {
    let mut client = connect(arena, targets, targets.len())?;
    client.line()?;
    client.end()
}

fn connect(arena: &Arena, targets: &[String], connections: usize) -> Result<Tool> {
    let mut args = vec!["connections".to_owned(), format!("--connections={connections}")];
    args.extend(targets.iter().map(|target| format!("--to={target}")));
    args.extend(ADDRESSES.iter().map(|backend| format!("--backend={backend}")));
    Tool::start(arena, &args)
}

fn rss(measured: &Process) -> u64 {
    thread::sleep(SETTLE);
    accounting::usage(measured.id()).rss
}

fn take(
    figures: &mut Vec<Figure>,
    arena: &Arena,
    peer: &Peer,
    (connections, services): (usize, usize),
    measures: &[&'static str],
    readings: &Result<Vec<Reading>>,
) {
    for measure in measures {
        let known = figures.iter().position(|figure| figure.is(measure, peer, connections, services));
        let at = known.unwrap_or_else(|| {
            figures.push(Figure::new(measure, peer, peer.version(arena), connections, services));
            figures.len() - 1
        });
        figures[at].take(readings);
    }
}

impl Figure {
    fn new(measure: &'static str, peer: &Peer, version: String, connections: usize, services: usize) -> Self {
        let (proxy, rss, added) = (peer.name, Vec::new(), Vec::new());
        Self { measure, proxy, version, connections, services, rss, added, error: None }
    }

    fn is(&self, measure: &str, peer: &Peer, connections: usize, services: usize) -> bool {
        (self.measure, self.proxy, self.connections, self.services) == (measure, peer.name, connections, services)
    }

    fn take(&mut self, readings: &Result<Vec<Reading>>) {
        match readings {
            Ok(readings) => {
                for reading in readings.iter().filter(|reading| reading.measure == self.measure) {
                    self.rss.push(reading.rss as f64);
                    self.added.push(reading.rss as f64 - reading.before as f64);
                }
            }
            Err(error) => {
                self.error.get_or_insert(format!("{error:#}"));
            }
        }
    }

    fn result(&self) -> Value {
        let median = |samples: &[f64]| Spread::of(samples.iter().copied()).map(|spread| spread.median);
        let added = median(&self.added);
        let each = added.filter(|_| self.connections > 0).map(|added| added / self.connections as f64);
        json!({
            "measure": self.measure,
            "proxy": self.proxy,
            "version": self.version,
            "connections": self.connections,
            "services": self.services,
            "rss_kib": median(&self.rss),
            "rss_added_kib": added,
            "kib_per_connection": each.map(|each| (each * 100.0).round() / 100.0),
            "rounds": self.rss.len(),
            "errors": u64::from(self.error.is_some()),
            "error": self.error,
        })
    }
}

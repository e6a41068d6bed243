//! What is measured in which order: every round has all cells, with proxies that were started for it.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};

use super::arena::Arena;
use super::load::{self, Order, Outcome};
use super::measure::Measure;
use super::options::Bench;
use super::peers::{Others, Peer, Running, Setup};
use super::placement::Cpus;
use super::process::Process;
use super::report::Row;
use super::{accounting, backends};

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cell {
    measure: Measure,
    connections: usize,
    /// Its place in the list of those that are measured.
    peer: usize,
}

/// Measures all cells in all rounds. What fails is told in its row; an error is only what leaves nothing to measure.
pub(super) fn measure(options: &Bench, arena: &Arena) -> Result<Vec<Row>> {
    let peers: Vec<_> = options.peers().into_iter().filter(|peer| arena.missing(peer).is_none()).collect();
    let protocol = options.measures.first().context("nothing to measure")?.protocol();
    let most = options.connections.iter().copied().max().unwrap_or(1);
    let cpus = Cpus::allowed()?;
    let backends = backends::start(arena, protocol).context("the backends do not start")?;
    let mut rows = rows(options, &peers, arena);
    for round in 0..options.rounds {
        // Fresh, so that no round inherits another's memory; and all at once, so that the machine is the same for all.
        let running: Vec<_> = peers.iter().map(|peer| begin(arena, peer, options.measures, most)).collect();
        for cell in plan(options, peers.len(), round) {
            let peer = peers[cell.peer];
            progress(&format!(
                "round {}/{}: {}, {}, {} connections",
                round + 1,
                options.rounds,
                cell.measure.name(),
                peer.name,
                cell.connections
            ));
            let outcome = match &running[cell.peer] {
                Ok(running) => place(options, &cpus, cell, running, &backends)
                    .and_then(|()| rate(&rows, cell, peer, round))
                    .and_then(|rate| run(options, arena, cell, peer, running, rate))
                    .map_err(|error| format!("{error:#}")),
                Err(error) => Err(error.clone()),
            };
            if let Some(row) = rows.iter_mut().find(|row| row.is(cell.measure, cell.connections, peer.name)) {
                row.take(round, outcome);
            }
        }
        progress(&format!("round {}/{} is done\n", round + 1, options.rounds));
    }
    Ok(rows)
}

/// One line that changes, on a terminal; else only those lines that stay.
fn progress(what: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[Kxtask: {what}");
    } else if what.ends_with('\n') {
        eprint!("xtask: {what}");
    }
}

/// Few connections first: memory that many have needed is rarely given back. The first to run is another one in each
/// round, so that nobody always follows the same neighbour's heat.
fn plan(options: &Bench, peers: usize, round: usize) -> Vec<Cell> {
    let mut connections = options.connections.clone();
    connections.sort_unstable();
    connections.dedup();
    let rotated = move |at: usize| (at + round) % peers;
    let cells = options.measures.iter().flat_map(|measure| {
        let suitable = connections.iter().filter(|connections| measure.suits(**connections));
        suitable.flat_map(move |connections| {
            (0..peers).map(move |at| Cell { measure: *measure, connections: *connections, peer: rotated(at) })
        })
    });
    cells.collect()
}

/// In the order of the table.
fn rows(options: &Bench, peers: &[&Peer], arena: &Arena) -> Vec<Row> {
    let versions: Vec<_> = peers.iter().map(|peer| peer.version(arena)).collect();
    let cells = plan(options, peers.len(), 0);
    cells
        .iter()
        .map(|cell| Row::new(cell.measure, cell.connections, peers[cell.peer].name, &versions[cell.peer]))
        .collect()
}

/// Starts a proxy and looks whether it does what it should.
fn begin(arena: &Arena, peer: &Peer, measures: &[Measure], connections: usize) -> Result<Running, String> {
    let begun = measures.first().context("nothing to measure").and_then(|measure| {
        let running =
            peer.start(arena, &Setup { protocol: measure.protocol(), connections, others: Others::default() })?;
        measures.iter().try_for_each(|measure| load::check(arena, *measure, &peer.targets()))?;
        Ok(running)
    });
    begun.map_err(|error| {
        eprintln!("xtask: {}: {error:#}", peer.name);
        format!("{error:#}")
    })
}

fn place(options: &Bench, cpus: &Cpus, cell: Cell, running: &Running, backends: &[Process]) -> Result<()> {
    if options.unpinned {
        return Ok(());
    }
    let trees = |processes: &mut dyn Iterator<Item = &Process>| -> Vec<u32> {
        processes.flat_map(|process| accounting::tree(process.id())).collect()
    };
    let under_way = cell.connections * cell.measure.streams();
    cpus.place(under_way, &trees(&mut running.measured.iter()), &trees(&mut backends.iter()))
}

/// Of an open loop: its share of what the proxy managed in this round, at so many connections.
fn rate(rows: &[Row], cell: Cell, peer: &Peer, round: usize) -> Result<Option<f64>> {
    let Some((measure, share)) = cell.measure.share_of() else { return Ok(None) };
    let row = rows.iter().find(|row| row.is(measure, cell.connections, peer.name));
    let limit = row.and_then(|row| row.rate_in(round)).context("what it manages at most was not measured")?;
    Ok(Some(limit * share))
}

fn run(
    options: &Bench,
    arena: &Arena,
    cell: Cell,
    peer: &Peer,
    running: &Running,
    rate: Option<f64>,
) -> Result<Outcome> {
    let order = Order {
        measure: cell.measure,
        targets: &peer.targets(),
        connections: cell.connections,
        seconds: options.seconds,
        rate,
        measured: running.measured.as_ref().map(Process::id),
    };
    load::run(arena, &order)
}

#[cfg(test)]
mod tests {
    use super::{Bench, plan};

    #[test]
    fn proxies_alternate_within_a_setting_and_begin_in_turn() {
        let words = ["tcp", "--connections", "32,1"].map(str::to_owned);
        let options = Bench::parse(&words).unwrap();
        let order = |round| -> Vec<_> {
            let cells = plan(&options, 3, round);
            cells.iter().map(|cell| format!("{} {} {}", cell.measure.name(), cell.connections, cell.peer)).collect()
        };
        assert_eq!(order(0).len(), 12);
        assert_eq!(
            order(0)[..4],
            ["tcp-throughput 1 0", "tcp-throughput 1 1", "tcp-throughput 1 2", "tcp-throughput 32 0"]
        );
        assert_eq!(order(4)[..3], ["tcp-throughput 1 1", "tcp-throughput 1 2", "tcp-throughput 1 0"]);
        assert_eq!(order(0)[6], "tcp-connections 1 0");
    }
}

//! What stands on the command line of `cargo xtask bench`.

use anyhow::{Context, Result, bail, ensure};

use super::measure::Measure;
use super::peers::{PEERS, Peer};

/// How it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Exchanges under load.
    Exchanges,
    /// What is kept in memory while nothing moves.
    Memory,
    /// How soon it is there, and how large it is.
    Start,
    /// What traffic notices of a module that comes.
    Module,
    /// How many instructions of ours a request takes.
    Instructions,
    /// What the table of very many endpoints costs.
    Table,
}

/// What to measure, beside whom and for how long.
#[derive(Debug, PartialEq)]
pub(crate) struct Bench {
    pub(super) what: What,
    pub(super) measures: &'static [Measure],
    pub(super) json: bool,
    /// A peer that cannot be installed is left out and named, instead of failing the run.
    pub(super) allow_missing: bool,
    /// Whether it works at all: a moment of everything, of what the tests have built.
    pub(super) quick: bool,
    /// The scheduler decides who runs where.
    pub(super) unpinned: bool,
    /// Of each cell, without its warm-up.
    pub(super) seconds: f64,
    pub(super) rounds: usize,
    pub(super) connections: Vec<usize>,
    /// Empty for all.
    proxies: Vec<String>,
}

const KNOWN: &str = "http, grpc, tcp, memory, start, module, instructions, table and control-plane";

/// Who keeps something for connections that stand still.
const IN_MEMORY: [&str; 3] = ["haproxy", "envoy", "wasmesh"];

impl Bench {
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let (what, args) = args.split_first().with_context(|| format!("bench what? there are {KNOWN}"))?;
        let mut options = Self::of(what)?;
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let (name, value) = arg.split_once('=').map_or((arg, None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("--json", None) => options.json = true,
                ("--allow-missing", None) => options.allow_missing = true,
                ("--unpinned", None) => options.unpinned = true,
                ("--quick", None) => options.hurry(),
                ("--seconds" | "--rounds" | "--connections" | "--proxy", value) => {
                    let value = value.or_else(|| args.next()).with_context(|| format!("{name} needs a value"))?;
                    options.set(name, value).with_context(|| format!("{name} {value}"))?;
                }
                _ => bail!("bench does not know {arg:?}; `cargo xtask` alone lists what it knows"),
            }
        }
        Ok(options)
    }

    /// In the order of the table, whatever the order on the command line.
    pub(super) fn peers(&self) -> Vec<&'static Peer> {
        let chosen = |peer: &&Peer| match self.proxies[..] {
            [] => match self.what {
                What::Exchanges => peer.speaks(self.measures),
                What::Memory => IN_MEMORY.contains(&peer.name),
                What::Start | What::Module | What::Instructions | What::Table => peer.is_ours(),
            },
            _ => self.proxies.iter().any(|name| name == peer.name),
        };
        PEERS.iter().copied().filter(chosen).collect()
    }

    fn hurry(&mut self) {
        self.quick = true;
        self.rounds = 1;
        self.seconds = 0.3;
        self.connections = if self.what == What::Memory { vec![30] } else { vec![1, 4] };
    }

    fn of(what: &str) -> Result<Self> {
        let (what, measures, connections): (_, &[Measure], &[usize]) = match what {
            "http" => (What::Exchanges, &[Measure::Http, Measure::HttpOpen], &[1, 32, 256]),
            "grpc" => (What::Exchanges, &[Measure::Grpc, Measure::GrpcStream], &[1, 32]),
            "tcp" => (What::Exchanges, &[Measure::TcpThroughput, Measure::TcpConnections], &[1, 32]),
            "memory" => (What::Memory, &[], &[1000, 10_000]),
            "start" => (What::Start, &[], &[1]),
            "module" => (What::Module, &[], &[1]),
            "instructions" => (What::Instructions, &[], &[1, 32]),
            "table" => (What::Table, &[], &[1]),
            _ => bail!("no bench is named {what:?}; there are {KNOWN}"),
        };
        Ok(Self {
            what,
            measures,
            seconds: 2.0,
            connections: connections.to_vec(),
            json: false,
            allow_missing: false,
            quick: false,
            unpinned: false,
            rounds: if what == What::Start { 9 } else { 3 },
            proxies: Vec::new(),
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "--seconds" => {
                self.seconds = value.parse()?;
                ensure!((0.1..=3600.0).contains(&self.seconds), "must be between 0.1 and 3600");
            }
            "--rounds" => {
                self.rounds = value.parse()?;
                ensure!(self.rounds > 0, "nothing to do");
            }
            "--connections" => {
                self.connections = value.split(',').map(str::parse).collect::<Result<_, _>>()?;
                ensure!(self.connections.iter().all(|connections| *connections > 0), "must be positive");
            }
            _ => {
                let names: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
                ensure!(names.contains(&value), "there are {}", names.join(", "));
                self.proxies.push(value.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Bench;

    fn parse(line: &str) -> anyhow::Result<Bench> {
        Bench::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(line: &str, seconds: f64, rounds: usize, connections: &[usize], proxies: &str) {
        let options = parse(line).unwrap();
        let names: Vec<_> = options.peers().iter().map(|peer| peer.name).collect();
        assert_eq!((options.seconds, options.rounds, names.join(" ").as_str()), (seconds, rounds, proxies), "{line:?}");
        assert_eq!(options.connections, connections, "{line:?}");
    }

    #[test]
    fn all_is_measured_unless_told() {
        check("http", 2.0, 3, &[1, 32, 256], "direct copy nginx haproxy envoy wasmesh wasmesh-wasm");
        check("grpc", 2.0, 3, &[1, 32], "direct copy hyper nginx haproxy envoy wasmesh wasmesh-wasm");
        check("tcp --seconds 1 --rounds=5", 1.0, 5, &[1, 32], "direct copy nginx haproxy envoy wasmesh wasmesh-wasm");
        check("memory --rounds 1", 2.0, 1, &[1000, 10_000], "haproxy envoy wasmesh");
        check("http --quick --rounds 2", 0.3, 2, &[1, 4], "direct copy nginx haproxy envoy wasmesh wasmesh-wasm");
        check("grpc --proxy wasmesh --proxy=copy --connections 8", 2.0, 3, &[8], "copy wasmesh");
    }

    #[test]
    fn what_is_not_known_is_an_error() {
        let bad =
            ["", "udp", "http --proxy moon", "http --connections 1,,2", "http --connections 0", "http --seconds 0"];
        for line in bad.into_iter().chain(["http --rounds 0", "http --json=yes", "http x", "http --rounds"]) {
            assert!(parse(line).is_err(), "{line:?}");
        }
    }
}

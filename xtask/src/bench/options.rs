//! What stands on the command line of `cargo xtask bench`.

use anyhow::{Context, Result, bail, ensure};

use super::measure::Measure;
use super::peers::{PEERS, Peer};

/// What to measure, beside whom and for how long.
#[derive(Debug, PartialEq)]
pub(crate) struct Bench {
    pub(super) measures: &'static [Measure],
    pub(super) json: bool,
    /// A peer that cannot be installed is left out and named, instead of failing the run.
    pub(super) allow_missing: bool,
    /// The scheduler decides who runs where.
    pub(super) unpinned: bool,
    /// Of each cell, without its warm-up.
    pub(super) seconds: f64,
    pub(super) rounds: usize,
    pub(super) connections: Vec<usize>,
    /// Empty for all.
    proxies: Vec<String>,
}

impl Bench {
    pub(crate) fn parse(args: &[String]) -> Result<Self> {
        let (what, args) = args.split_first().context("bench what? http, grpc or tcp")?;
        let mut options = Self::of(what)?;
        let mut args = args.iter().map(String::as_str);
        while let Some(arg) = args.next() {
            let (name, value) = arg.split_once('=').map_or((arg, None), |(name, value)| (name, Some(value)));
            match (name, value) {
                ("--json", None) => options.json = true,
                ("--allow-missing", None) => options.allow_missing = true,
                ("--unpinned", None) => options.unpinned = true,
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
        let chosen = |peer: &&Peer| self.proxies.is_empty() || self.proxies.iter().any(|name| name == peer.name);
        PEERS.iter().copied().filter(chosen).collect()
    }

    fn of(what: &str) -> Result<Self> {
        let (measures, seconds, connections): (&[Measure], _, &[usize]) = match what {
            "http" => (&[Measure::Http, Measure::HttpOpen], 2.0, &[1, 32, 256]),
            "grpc" => (&[Measure::Grpc, Measure::GrpcStream], 2.0, &[1, 32]),
            "tcp" => (&[Measure::TcpThroughput, Measure::TcpConnections], 2.0, &[1, 32]),
            _ => bail!("no bench is named {what:?}; there are http, grpc and tcp"),
        };
        Ok(Self {
            measures,
            seconds,
            connections: connections.to_vec(),
            json: false,
            allow_missing: false,
            unpinned: false,
            rounds: 3,
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
        check("tcp --seconds 1 --rounds=5", 1.0, 5, &[1, 32], "direct copy nginx haproxy envoy wasmesh wasmesh-wasm");
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

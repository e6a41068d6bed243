//! Who is measured: one file per peer, all of the same shape.

mod copy;
mod direct;
mod envoy;
mod haproxy;
mod hyper;
mod nginx;
pub(super) mod wasmesh;

use std::process::Command;

use anyhow::{Context, Result};

use super::arena::Arena;
use super::backends;
use super::measure::{Measure, Protocol};
use super::process::Process;
use crate::rungs::Need;

/// The one that is no package of Debian.
pub(super) const ENVOY: &str = envoy::PEER.name;

impl Peer {
    /// Whether it knows what is measured.
    pub(super) fn speaks(&self, measures: &[Measure]) -> bool {
        self.name != hyper::PEER.name || measures.iter().all(|measure| measure.protocol() == Protocol::Grpc)
    }

    /// Whether it is ourselves.
    pub(super) fn is_ours(&self) -> bool {
        [wasmesh::PEER.name, wasmesh::WITH_MODULE.name].contains(&self.name)
    }
}

/// In the order of the table.
pub(super) const PEERS: [&Peer; 8] = [
    &direct::PEER,
    &copy::PEER,
    &hyper::PEER,
    &nginx::PEER,
    &haproxy::PEER,
    &envoy::PEER,
    &wasmesh::PEER,
    &wasmesh::WITH_MODULE,
];

/// Someone to measure.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) name: &'static str,
    /// Where it stands; the client that has nobody between itself and the backends stands nowhere.
    pub(super) captured: Option<Captured>,
    pub(super) needs: &'static [Need],
    /// Starts it and waits until it listens.
    start: fn(&Arena, &Setup) -> Result<Running>,
    /// Prints its version.
    version: fn(&Arena) -> Option<Command>,
}

/// What it stands in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) protocol: Protocol,
    /// How many connections clients open at most.
    pub(super) connections: usize,
    /// What else there is in the mesh, for who lives in one.
    pub(super) others: Others,
}

/// Services that a mesh has beside the one that is measured.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Others {
    pub(super) services: usize,
    /// Of each of them.
    pub(super) endpoints: usize,
}

/// A place behind the redirect.
#[derive(Debug)]
pub(super) struct Captured {
    /// What the client dials, at port 80.
    pub(super) vip: &'static str,
    /// Where the connection arrives, on 127.0.0.1.
    pub(super) port: u16,
}

/// Its processes.
#[derive(Debug)]
pub(super) struct Running {
    /// The one whose CPU time and memory count, with its children.
    pub(super) measured: Option<Process>,
    /// Those that only have to be there.
    _helpers: Vec<Process>,
}

impl Peer {
    pub(super) fn start(&self, arena: &Arena, setup: &Setup) -> Result<Running> {
        (self.start)(arena, setup)
    }

    /// What the client dials: connections take these in turn.
    pub(super) fn targets(&self) -> Vec<String> {
        match &self.captured {
            Some(captured) => vec![format!("{}:80", captured.vip)],
            None => backends::ADDRESSES.map(str::to_owned).to_vec(),
        }
    }

    /// `-` if it has none.
    pub(super) fn version(&self, arena: &Arena) -> String {
        let output = (self.version)(arena).and_then(|mut command| command.output().ok());
        let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        version_in(&String::from_utf8_lossy(&text)).unwrap_or_else(|| "-".to_owned())
    }
}

impl Captured {
    fn listen(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Starts what a peer consists of.
fn launch(arena: &Arena, captured: Option<&Captured>, name: &str, command: Command) -> Result<Process> {
    let captured = captured.context("nowhere to listen")?;
    let mut process = Process::start(arena, name, command)?;
    process.listens(&captured.listen())?;
    Ok(process)
}

/// The first word of the kind 1.2.
fn version_in(text: &str) -> Option<String> {
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, '/' | ':' | ','));
    words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::backends::ADDRESSES;
    use super::{PEERS, envoy, haproxy, nginx, version_in};

    #[test]
    fn versions_are_found_in_what_programs_print() {
        let printed = [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
            ("\nenvoy  version: 9e558093/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("wasmesh-proxy 0.1.0", "0.1.0"),
        ];
        for (text, version) in printed {
            assert_eq!(version_in(text).as_deref(), Some(version));
        }
        assert_eq!(version_in("no version"), None);
    }

    #[test]
    fn configurations_name_the_place_and_every_backend() {
        let all = [(nginx::PEER, nginx::CONFIGS), (haproxy::PEER, haproxy::CONFIGS), (envoy::PEER, envoy::CONFIGS)];
        for (peer, configs) in all {
            let port = peer.captured.unwrap().port.to_string();
            for config in configs {
                assert!(config.contains(&port), "{}: {config}", peer.name);
                for (host, backend_port) in ADDRESSES.iter().filter_map(|address| address.split_once(':')) {
                    assert_eq!(config.matches(host).count(), 1, "{}: {host}", peer.name);
                    assert!(config.contains(backend_port));
                }
            }
        }
    }

    #[test]
    fn nobody_shares_a_place() {
        let mut places: Vec<_> =
            PEERS.iter().filter_map(|peer| peer.captured.as_ref()).map(|c| (c.vip, c.port)).collect();
        let before = places.len();
        places.dedup_by(|a, b| a.0 == b.0 || a.1 == b.1);
        assert_eq!(places.len(), before);
    }
}

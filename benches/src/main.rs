//! What `cargo xtask bench` needs and no package has: a byte-copy relay as the floor under every proxy and a bare one as the floor of
//! the HTTP/2 library, a backend for plain TCP that says who it is, and a load that checks every answer and stands still while CPU
//! time is read.
//!
//! All but the bare proxy is one thread around one epoll, with as few system calls as can be: none of it may be what is measured.

mod bare;
mod connections;
mod copy;
mod echo;
mod hold;
mod load;
mod poll;
mod slots;

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Tools of `cargo xtask bench`.
#[derive(Debug, Parser)]
#[command(version)]
enum Tool {
    /// Copies bytes between each connection and one of its own to the next of these addresses
    Copy {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// Where to connect to, in turn
        #[arg(long, required = true)]
        to: Vec<SocketAddr>,
    },
    /// Forwards HTTP/2 with hyper and nothing else, to these addresses in turn
    Hyper {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// Where to send requests
        #[arg(long, required = true)]
        to: Vec<SocketAddr>,
    },
    /// Answers each message with itself, its first byte replaced by our name
    Echo {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// One character
        #[arg(long)]
        name: char,
    },
    /// An HTTP/1.1 backend that holds what asks for `/hold` until somebody asks for `/release`
    Hold {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
        /// One character
        #[arg(long)]
        name: char,
    },
    /// Opens connections, asks on all of them, and has all their requests held. Prints the name of each state and stays in it
    /// until the next line on stdin
    Connections {
        /// Where to connect to; connections take these addresses in turn
        #[arg(long, required = true)]
        to: Vec<SocketAddr>,
        /// Backends, which are `hold`
        #[arg(long, required = true)]
        backend: Vec<SocketAddr>,
        /// How many
        #[arg(long)]
        connections: usize,
    },
    /// Loads a server with at most one exchange at a time on each connection. Prints `ready` after the warm-up, begins with the
    /// next line on stdin, prints one JSON object and keeps its connections until stdin ends
    Load(Load),
}

/// What to load, and how.
#[derive(Debug, clap::Args)]
struct Load {
    /// What an exchange is
    #[arg(long)]
    exchange: Exchange,
    /// Where to connect to; connections take these addresses in turn
    #[arg(long, required = true)]
    to: Vec<SocketAddr>,
    /// How many connections at a time
    #[arg(long)]
    connections: usize,
    /// So many exchanges begin in a second, whether or not those before have ended; without it each connection begins
    /// the next at the end of the last
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// How long, at least
    #[arg(long, value_parser = seconds)]
    seconds: Duration,
    /// How long before that, uncounted
    #[arg(long, value_parser = seconds)]
    warm_up: Duration,
}

/// What one exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Exchange {
    /// GET over HTTP/1.1, connections kept; the answer is a 200 with a body of 1 KiB
    Http,
    /// A message of 64 KiB and the same back, connections kept
    Bulk,
    /// Connect, a message of 16 bytes and the same back, close
    Connect,
}

/// As in our own proxy, for the bare one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    // As many connections as the machine allows.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    match Tool::parse() {
        Tool::Copy { listen, to } => copy::run(listen, to),
        Tool::Hyper { listen, to } => bare::run(listen, to),
        Tool::Echo { listen, name } => echo::run(listen, u8::try_from(name)?),
        Tool::Hold { listen, name } => hold::run(listen, u8::try_from(name)?),
        Tool::Connections { to, backend, connections } => connections::run(&to, &backend, connections),
        Tool::Load(load) => load::run(&load),
    }
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

fn rate(text: &str) -> Result<f64> {
    let rate: f64 = text.parse()?;
    ensure!((1.0..=1e6).contains(&rate), "must be between 1 and 1000000 a second");
    Ok(rate)
}

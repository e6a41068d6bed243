//! Command line of `wasmesh-proxy capture`.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use wasmesh_core::capture::{Cidr, Plan, PlanSpec, Tracking, resolvers};

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What can be done about capture.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Print the rules; needs no privilege.
    Print(Print),
    /// Install the rules once, in place of those that are there; needs CAP_NET_ADMIN.
    Install(Install),
    /// Install the rules as soon as the proxy answers, refuse what the proxy says must be refused, drain at SIGTERM;
    /// needs CAP_NET_ADMIN all the time.
    Run(Hold),
    /// Succeed once the application may start: for a startup probe beside `capture run --ready-file`.
    Ready(Ready),
    /// Stop redirecting; connections that are open stay open. Needs CAP_NET_ADMIN.
    Drain(Drain),
}

/// `capture print`.
#[derive(Debug, Clone, Args)]
pub struct Print {
    /// What is captured.
    #[command(flatten)]
    pub plan: PlanOptions,

    /// For which of the kernel's tools
    #[arg(long, value_name = "BACKEND", value_enum, default_value_t)]
    pub backend: BackendChoice,
}

/// `capture install`.
#[derive(Debug, Clone, Args)]
pub struct Install {
    /// What is captured.
    #[command(flatten)]
    pub plan: PlanOptions,

    /// Where.
    #[command(flatten)]
    pub system: SystemOptions,
}

/// `capture run`.
#[derive(Debug, Clone, Args)]
pub struct Hold {
    /// What is captured.
    #[command(flatten)]
    pub plan: PlanOptions,

    /// Where.
    #[command(flatten)]
    pub system: SystemOptions,

    /// Where to hear from the proxy what must be refused: a unix socket, only for the proxy's user and root
    #[arg(long, value_name = "PATH", default_value = "/run/wasmesh/capture.sock")]
    pub socket: PathBuf,

    /// File that is made once the rules are installed, so that a startup probe (`capture ready`) keeps the application
    /// from starting before. With it a failure is no end: the file is made, nothing is captured, and it is tried again
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
}

/// `capture ready`.
#[derive(Debug, Clone, Args)]
pub struct Ready {
    /// The file
    #[arg(long, value_name = "PATH")]
    pub ready_file: PathBuf,
}

/// `capture drain`.
#[derive(Debug, Clone, Args)]
pub struct Drain {
    /// Where.
    #[command(flatten)]
    pub system: SystemOptions,
}

/// How rules get into the kernel.
#[derive(Debug, Clone, Args)]
pub struct SystemOptions {
    /// Which of the kernel's tools to use; auto takes iptables where nftables is missing
    #[arg(long, value_name = "BACKEND", value_enum, default_value_t)]
    pub backend: BackendChoice,

    /// Do it even if this network namespace looks like the node's, where it captures the whole node's connections
    #[arg(long)]
    pub allow_host_network: bool,
}

/// Which of the kernel's tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum BackendChoice {
    /// nftables, or iptables where that is missing.
    #[default]
    Auto,
    /// nft.
    Nftables,
    /// iptables-restore and ip6tables-restore.
    Iptables,
}

/// What is captured.
#[derive(Debug, Clone, Args)]
pub struct PlanOptions {
    /// A range in which Services have their addresses, IPv4 or IPv6; may be given more than once
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub service_cidr: Vec<Cidr>,

    /// A further range to capture; may be given more than once
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub include_outbound_cidrs: Vec<Cidr>,

    /// A range never to capture; may be given more than once
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub exclude_outbound_cidrs: Vec<Cidr>,

    /// A destination port never to capture; may be given more than once
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    pub exclude_outbound_ports: Vec<u16>,

    /// Where the proxy takes captured connections, on 127.0.0.1 and [::1]
    #[arg(long, value_name = "PORT", default_value_t = 19001)]
    pub outbound_port: u16,

    /// Capture DNS as well, but only queries to the name servers of this pod
    #[arg(long)]
    pub dns: bool,

    /// A name server of this pod, instead of those in /etc/resolv.conf; may be given more than once
    #[arg(long, value_name = "IP", value_delimiter = ',', requires = "dns")]
    pub dns_resolver: Vec<IpAddr>,

    /// Where the proxy answers names, on 127.0.0.1 and [::1]
    #[arg(long, value_name = "PORT", default_value_t = 19053)]
    pub dns_port: u16,

    /// The user that the proxy runs as: its own connections are never captured
    #[arg(long, value_name = "UID", default_value_t = 19000)]
    pub proxy_uid: u32,

    /// What the kernel keeps track of
    #[arg(long, value_name = "WHAT", value_enum, default_value_t)]
    pub tracking: TrackingChoice,
}

/// What connection tracking is spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum TrackingChoice {
    /// Every connection.
    All,
    /// All but talk between 127.0.0.1 and itself, and ::1 and itself.
    #[default]
    SpareLoopback,
    /// Nor the proxy's own connections to other hosts and whatever arrives from them: half the entries, but only where
    /// nothing else in the pod filters by connection state or translates addresses.
    OnlyCaptured,
}

impl PlanOptions {
    /// What they mean.
    ///
    /// # Errors
    /// When they make no sense together, or the name servers are not known.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let spec = PlanSpec {
            service_cidrs: self.service_cidr.clone(),
            include_cidrs: self.include_outbound_cidrs.clone(),
            exclude_cidrs: self.exclude_outbound_cidrs.clone(),
            exclude_ports: self.exclude_outbound_ports.clone(),
            resolvers: self.resolvers()?,
            outbound_port: self.outbound_port,
            dns_port: self.dns_port,
            proxy_uid: self.proxy_uid,
            tracking: match self.tracking {
                TrackingChoice::All => Tracking::All,
                TrackingChoice::SpareLoopback => Tracking::SpareLoopback,
                TrackingChoice::OnlyCaptured => Tracking::OnlyCaptured,
            },
        };
        Ok(Plan::new(&spec)?)
    }

    fn resolvers(&self) -> anyhow::Result<Vec<IpAddr>> {
        if !self.dns || !self.dns_resolver.is_empty() {
            return Ok(self.dns_resolver.clone());
        }
        let text = std::fs::read_to_string(RESOLV_CONF)
            .with_context(|| format!("cannot read {RESOLV_CONF} (--dns); name the servers with --dns-resolver"))?;
        let found = resolvers(&text);
        if found.is_empty() {
            bail!("{RESOLV_CONF} names no server (--dns); name them with --dns-resolver");
        }
        Ok(found)
    }
}

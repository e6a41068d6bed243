//! Command line of `wasmesh-proxy`.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand};

/// The sidecar of the mesh.
#[derive(Debug, Clone, Parser)]
#[command(name = "wasmesh-proxy", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the proxy.
    ///
    /// Each listener is printed on stdout as `listening NAME ADDR` once it accepts connections; logs go to stderr.
    /// SIGTERM drains: connections end after the request they are serving.
    Run(Options),
}

/// How the proxy runs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the control plane's discovery service is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:19010")]
    pub control_plane: String,

    /// Where captured connections arrive; may be given more than once
    #[arg(long, value_name = "ADDR")]
    pub outbound_listen: Vec<SocketAddr>,

    /// Where the explicit HTTP proxy listens (http_proxy=http://ADDR)
    #[arg(long, value_name = "ADDR")]
    pub http_proxy_listen: Option<SocketAddr>,

    /// Where /livez, /readyz, /metrics and /debug/... are answered
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19020")]
    pub admin_listen: SocketAddr,

    /// Name of this proxy in the control plane's status
    #[arg(long, value_name = "NAME", env = "HOSTNAME", default_value = "proxy")]
    pub name: String,

    /// Node that this pod runs on, for internalTrafficPolicy and topology hints
    #[arg(long, value_name = "N", default_value = "")]
    pub node_name: String,

    /// Zone of that node
    #[arg(long, value_name = "Z", default_value = "")]
    pub zone: String,

    /// Namespace of this pod: where a bare Service name is looked up
    #[arg(long, value_name = "NS", default_value = "default")]
    pub namespace: String,

    /// Domain under which the cluster's names live
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: u16,

    /// How long a connection to an endpoint may take before the next one is tried (never applies to what is passed
    /// through)
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    pub connect_timeout: Duration,

    /// How long a client may keep a connection open without a complete request head
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = seconds)]
    pub client_idle_timeout: Duration,

    /// How long the first use of a Service waits for its endpoints before it is passed through
    #[arg(long, value_name = "SECONDS", default_value = "0.25", value_parser = seconds)]
    pub first_use_wait: Duration,

    /// After how long without use the endpoints of a Service are given up
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub endpoints_idle_timeout: Duration,

    /// After how long /readyz says ready even if no control plane has answered
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub startup_grace: Duration,

    /// How long a drain may take
    #[arg(long, value_name = "SECONDS", default_value = "25", value_parser = seconds)]
    pub drain_timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 2 or 0.25".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

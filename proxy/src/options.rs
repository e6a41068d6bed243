//! Command line of `wasmesh-proxy`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::capture::options as capture;

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
#[allow(clippy::large_enum_variant, reason = "there is one of it, at the start")]
pub enum Command {
    /// Run the proxy.
    ///
    /// Each listener is printed on stdout as `listening NAME ADDR` once it accepts connections; logs go to stderr.
    /// SIGTERM drains: connections end after the request they are serving.
    Run(Options),

    /// Compile a module; the proxy calls itself so, because a compiler needs limits of its own.
    #[command(hide = true)]
    CompilePolicy,

    /// Lead a pod's connections to the proxy: print, install, hold or drain the rules.
    #[command(subcommand)]
    Capture(capture::Command),
}

/// How the proxy runs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Where the control plane's discovery service is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:19010")]
    pub control_plane: String,

    /// Certificates (PEM) that the control plane's certificate must lead to; read anew for each connection. Without it they
    /// come from the environment variable WASMESH_CA_BUNDLE
    #[arg(long, value_name = "FILE")]
    pub control_plane_ca: Option<PathBuf>,

    /// The same certificates as a text
    #[arg(long, value_name = "PEM", env = "WASMESH_CA_BUNDLE", hide = true)]
    pub ca_bundle: Option<String>,

    /// Token that says to the control plane who this pod is (a ServiceAccount token of audience wasmesh); read anew for each
    /// call
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,

    /// Where captured connections arrive; may be given more than once
    #[arg(long, value_name = "ADDR")]
    pub outbound_listen: Vec<SocketAddr>,

    /// Where the explicit HTTP proxy listens (http_proxy=http://ADDR)
    #[arg(long, value_name = "ADDR")]
    pub http_proxy_listen: Option<SocketAddr>,

    /// Where DNS is answered, over UDP and TCP; may be given more than once
    #[arg(long, value_name = "ADDR")]
    pub dns_listen: Vec<SocketAddr>,

    /// Name server for what the mesh does not know; may be given more than once. By default those of /etc/resolv.conf
    #[arg(long, value_name = "ADDR", requires = "dns_listen")]
    pub dns_upstream: Vec<SocketAddr>,

    /// Questions to name servers at once; more are dropped
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub max_dns_queries: usize,

    /// TCP connections for DNS at once; more are closed
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_dns_connections: usize,

    /// Where the holder of the capture rules (`wasmesh-proxy capture run`) is told what has no endpoint
    #[arg(long, value_name = "PATH")]
    pub capture_socket: Option<PathBuf>,

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

    /// Worker threads; by default as many as the container's CPU limit allows, two without a limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub workers: Option<u16>,

    /// How long a connection to an endpoint may take before the next one is tried (never applies to what is passed
    /// through)
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = some_seconds)]
    pub connect_timeout: Duration,

    /// How long a client may keep a connection open without a complete request head
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = some_seconds)]
    pub client_idle_timeout: Duration,

    /// How long the first use of a Service waits for its endpoints before it is passed through
    #[arg(long, value_name = "SECONDS", default_value = "0.25", value_parser = seconds)]
    pub first_use_wait: Duration,

    /// After how long without use the endpoints of a Service are given up
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = some_seconds)]
    pub endpoints_idle_timeout: Duration,

    /// After how long /readyz says ready even if no control plane has answered
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub startup_grace: Duration,

    /// How many failures in a row eject an endpoint; 0 never does
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub ejection_failures: u32,

    /// The first pause of an ejected endpoint; each further one is twice as long
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = some_seconds)]
    pub ejection_pause: Duration,

    /// The longest pause of an ejected endpoint
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = some_seconds)]
    pub ejection_max_pause: Duration,

    /// Client connections at once; more are reset
    #[arg(long, value_name = "N", default_value_t = 16384)]
    pub max_connections: usize,

    /// HTTP requests in flight at once; more are answered with 503
    #[arg(long, value_name = "N", default_value_t = 16384)]
    pub max_requests: usize,

    /// Streams of one HTTP/2 client connection at once; more wait in the client
    #[arg(long, value_name = "N", default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_streams: u32,

    /// Bytes of one request head; more are answered with 431
    #[arg(long, value_name = "BYTES", default_value_t = 65536)]
    pub max_header_bytes: usize,

    /// Bytes of one request body that are remembered, until an endpoint answers, so that it can be sent to another; a larger
    /// one is sent once
    #[arg(long, value_name = "BYTES", default_value_t = 65536)]
    pub max_replay_bytes: usize,

    /// Bytes of bodies over HTTP/2 that are held in all for clients that do not read, as many for endpoints that do not, and as many of
    /// all request bodies that are remembered; over it streams that nobody reads end, and bodies are sent once
    #[arg(long, value_name = "BYTES", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 20..))]
    pub max_buffered_bytes: u64,

    /// A new module is fetched after a pause of up to this long, so that a thousand sidecars do not come at once
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub module_jitter: Duration,

    /// Where compiled modules are kept, so that they need not be compiled again; by default nowhere
    #[arg(long, value_name = "DIR")]
    pub module_cache: Option<PathBuf>,

    /// Memory of all instances of users' policies together, in MiB; one that asks for more fails, and the built-in policy answers
    #[arg(long, value_name = "MIB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub max_policy_memory: u32,

    /// Compile modules in this process and not in a child with limits of its own: for tests
    #[arg(long, hide = true)]
    pub compile_in_process: bool,

    /// How long a drain may take
    #[arg(long, value_name = "SECONDS", default_value = "25", value_parser = seconds)]
    pub drain_timeout: Duration,
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|d| if d.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(d) })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 2 or 0.25".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

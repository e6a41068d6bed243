//! Command line of `wasmesh-control-plane`.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::Parser;

/// Watches Kubernetes objects and keeps every proxy of the mesh up to date.
///
/// Each listener is printed on stdout as `listening NAME ADDR` once it accepts connections; logs go to stderr.
#[derive(Debug, Clone, Parser)]
#[command(name = "wasmesh-control-plane", version)]
pub struct Options {
    /// Where Kubernetes objects come from: `kube`, the API server of the cluster; or a folder of them (.yaml, .yml, .json; read
    /// recursively and followed)
    #[arg(long, value_name = "kube|DIR")]
    pub source: Source,

    /// Where proxies connect
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19010")]
    pub discovery_listen: SocketAddr,

    /// Where /livez, /readyz, /metrics and /debug/... are answered
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19014")]
    pub admin_listen: SocketAddr,

    /// Name of this replica in logs and status
    #[arg(long, value_name = "NAME", env = "HOSTNAME", default_value = "control-plane")]
    pub name: String,

    /// How many streams are admitted per second; others wait up to 5 s and are then told to come back
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub streams_per_second: u32,

    /// Let policies that ask for it (`allow: [SensitiveHeaders]`) read Authorization, Cookie and their like
    #[arg(long)]
    pub allow_sensitive_headers: bool,
}

/// Where objects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The API server: of the cluster that this runs in, or of the current context of KUBECONFIG.
    Kube,
    /// A folder. One that is called `kube` is written `./kube`.
    Folder(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "kube" { Self::Kube } else { Self::Folder(text.into()) })
    }
}

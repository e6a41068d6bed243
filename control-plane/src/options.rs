//! Command line of `wasmesh-control-plane`.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::Parser;
use wasmesh_core::capture::Cidr;

use crate::{afar::AfarOptions, injector::InjectorOptions};

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

    /// In a cluster: the namespace of this installation
    #[arg(long, value_name = "NS", env = "POD_NAMESPACE", default_value = "wasmesh-system")]
    pub namespace: String,

    /// In a cluster: a range in which Services have their addresses; may be given more than once, and must be where the API
    /// server has no ServiceCIDR objects (before Kubernetes 1.33)
    #[arg(long, value_name = "CIDR")]
    pub service_cidr: Vec<Cidr>,

    /// What pods are injected with
    #[command(flatten)]
    pub injector: InjectorOptions,

    /// How many streams are admitted per second; others wait up to 5 s and are then told to come back
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub streams_per_second: u32,

    /// In a cluster: how many connections of proxies there are at most
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_one)]
    pub max_connections: usize,

    /// In a cluster: how many of them come from one address at most. Proxies whose addresses are translated on the way, those of
    /// a node or of another network, come from one
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = at_least_one)]
    pub max_connections_per_source: usize,

    /// How long the stream of a proxy lives at most; then the proxy opens another one, perhaps at another replica, with a token
    /// that is checked anew
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = some_seconds)]
    pub stream_life: Duration,

    /// Which modules are had from elsewhere
    #[command(flatten)]
    pub afar: AfarOptions,

    /// Let policies that ask for it (`allow: [SensitiveHeaders]`) read Authorization, Cookie and their like
    #[arg(long)]
    pub allow_sensitive_headers: bool,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("expected a number, at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

pub(crate) fn some_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds, such as 3600 or 0.5".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration.is_zero() => Err("must be more than 0".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
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

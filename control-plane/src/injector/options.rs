//! What the injector is told on the command line.

use std::net::SocketAddr;

use clap::Args;

/// What the injector is told on the command line.
#[derive(Debug, Clone, Args)]
pub struct InjectorOptions {
    /// Where the API server asks what becomes of pods (HTTPS)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19017")]
    pub webhook_listen: SocketAddr,

    /// Image of the sidecars
    #[arg(long, value_name = "IMAGE", default_value = concat!("ghcr.io/wasmesh/wasmesh-proxy:", env!("CARGO_PKG_VERSION")))]
    pub proxy_image: String,

    /// Domain under which the cluster's names live
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
}

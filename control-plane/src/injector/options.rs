//! What the injector is told on the command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use wasmesh_injection::Resources;

/// What the injector is told on the command line.
#[derive(Debug, Clone, Args)]
pub struct InjectorOptions {
    /// Where the API server asks what becomes of pods (HTTPS)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:19017")]
    pub webhook_listen: SocketAddr,

    /// Certificates of authorities, PEM: only who shows a certificate of one of them may ask. Without it, everybody who can reach
    /// the address may
    #[arg(long, value_name = "FILE")]
    pub webhook_client_ca: Option<PathBuf>,

    /// Image of the sidecars
    #[arg(long, value_name = "IMAGE", default_value = concat!("ghcr.io/wasmesh/wasmesh-proxy:", env!("CARGO_PKG_VERSION")))]
    pub proxy_image: String,

    /// Domain under which the cluster's names live
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// What sidecars ask for, unless annotations of their pod say otherwise: proxy-cpu-request=50m,proxy-memory-limit=512Mi for
    /// instance. NAME=QUANTITY each, of proxy or capture, cpu or memory, request or limit
    #[arg(long, value_name = "LIST", default_value = "", hide_default_value = true)]
    pub sidecar_resources: Resources,
}

//! How proxies come in: over what, and who they are taken for.

use std::{future::Future, sync::Arc, time::Duration};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tonic::transport::{Server, server::TcpIncoming};
use wasmesh_proto::wire::discovery_server::DiscoveryServer;

use super::{Discovery, tls};
use crate::identity::Authenticator;

/// The protocol of gRPC, for those who agree on one in their handshake.
pub const ALPN: &[&[u8]] = &[b"h2"];

/// Bytes of one message from a proxy, which splits what is larger than 1 MiB. Verdicts are not split: there is room for
/// some 20,000.
const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Pings tell a proxy that is gone without a word from one that has nothing to say.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How many connections of proxies there are at most: in all, and from one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MostConnections {
    /// In all.
    pub total: usize,
    /// From one address.
    pub per_source: usize,
}

/// How proxies come in.
#[derive(Clone)]
pub struct Door {
    /// Speaks one of [`ALPN`]; without it connections are in the open.
    pub tls: Option<Arc<ServerConfig>>,
    /// Says who calls.
    pub authenticator: Authenticator,
}

impl Door {
    /// For a machine of one's own: no TLS, and everybody is who they say they are.
    pub fn open() -> Self {
        Self { tls: None, authenticator: Authenticator::Open }
    }
}

/// Serves proxies until `shutdown` ends and their connections have closed. Without TLS, on a machine of one's own, connections are
/// not counted.
///
/// # Errors
/// When the server fails as a whole.
pub async fn serve(
    discovery: Discovery,
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    most: MostConnections,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(DiscoveryServer::new(discovery).max_decoding_message_size(MAX_MESSAGE_BYTES));
    match tls {
        Some(config) => server.serve_with_incoming_shutdown(tls::incoming(listener, config, most), shutdown).await,
        None => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            server.serve_with_incoming_shutdown(incoming, shutdown).await
        }
    }
}

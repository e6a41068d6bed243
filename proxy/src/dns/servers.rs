//! Which name servers are asked.

use std::{fs, io::ErrorKind, net::SocketAddr};

use anyhow::Context;
use wasmesh_core::capture::resolvers;

/// Where a pod's name servers are named.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The port of DNS.
const PORT: u16 = 53;

/// Servers in the order in which they are asked.
#[derive(Debug, Clone)]
pub struct NameServers(Vec<SocketAddr>);

impl NameServers {
    /// These servers or, when there is none, those of resolv.conf. None at all is possible, as where there is no such file: then only
    /// the mesh's names are answered.
    ///
    /// # Errors
    /// When resolv.conf is wanted, is there and cannot be read.
    pub fn find(given: &[SocketAddr]) -> anyhow::Result<Self> {
        if !given.is_empty() {
            return Ok(Self(given.to_vec()));
        }
        let text = match fs::read_to_string(RESOLV_CONF) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(
                    "there is no {RESOLV_CONF}: names of the mesh alone are answered; name servers with --dns-upstream"
                );
                String::new()
            }
            read => read.with_context(|| format!("cannot read {RESOLV_CONF}; name the servers with --dns-upstream"))?,
        };
        Ok(Self(resolvers(&text).into_iter().map(|server| SocketAddr::new(server, PORT)).collect()))
    }

    /// Whether an address is one of them.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.0.iter().any(|server| is_same(*server, address))
    }

    pub(super) fn all(&self) -> &[SocketAddr] {
        &self.0
    }
}

fn is_same(server: SocketAddr, listener: SocketAddr) -> bool {
    let same_ip = server.ip() == listener.ip() || (listener.ip().is_unspecified() && server.ip().is_loopback());
    same_ip && server.port() == listener.port()
}

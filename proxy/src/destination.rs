//! Where a client wants to go, before anything is decided.

use std::{fmt, net::SocketAddr};

/// What a client wants to reach.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// An address that it has dialled.
    Address(SocketAddr),
    /// A host name and port that it has asked us for. Never an IP address.
    Name(String, u16),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

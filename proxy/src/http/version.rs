//! The versions of HTTP that are proxied. An endpoint gets the version that its client speaks.

use hyper::Version;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1, or 1.0 from a client.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

impl HttpVersion {
    /// What the next hop is spoken to in: a connection of ours speaks 1.1 even if the client speaks 1.0.
    pub(super) fn on_next_hop(self) -> Version {
        match self {
            Self::Http1 => Version::HTTP_11,
            Self::Http2 => Version::HTTP_2,
        }
    }
}

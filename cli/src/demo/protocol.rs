//! What is spoken in a part of the demo.

/// One for each Service that gets traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1 requests to podinfo.
    Http,
    /// gRPC calls to echo.
    Grpc,
    /// Connections to greeter, whose servers speak first.
    Tcp,
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::Http, Self::Grpc, Self::Tcp];

    /// The Service that is asked.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Http => "podinfo",
            Self::Grpc => "echo",
            Self::Tcp => "greeter",
        }
    }

    /// What is balanced and counted.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Http => "requests",
            Self::Grpc => "calls",
            Self::Tcp => "connections",
        }
    }
}

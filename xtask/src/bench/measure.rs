//! What can be measured, as data.

/// One kind of exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// HTTP/1.1 keep-alive, a response of 1 KiB.
    Http,
    /// HTTP/2 with prior knowledge, 10 streams a connection, 128 bytes each way and a trailer.
    Grpc,
    /// 64 KiB and the same back over plain TCP, connections kept.
    TcpThroughput,
    /// Connect, 16 bytes and the same back, close.
    TcpConnections,
}

/// What speaks for the load of a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Our own, with this exchange.
    Tools(&'static str),
    H2load,
}

impl Measure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::TcpThroughput => "tcp-throughput",
            Self::TcpConnections => "tcp-connections",
        }
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Http => Protocol::Http,
            Self::Grpc => Protocol::Grpc,
            Self::TcpThroughput | Self::TcpConnections => Protocol::Tcp,
        }
    }

    pub(super) fn load(self) -> Load {
        match self {
            Self::Http => Load::Tools("http"),
            Self::Grpc => Load::H2load,
            Self::TcpThroughput => Load::Tools("bulk"),
            Self::TcpConnections => Load::Tools("connect"),
        }
    }

    /// How many exchanges are under way on one connection.
    pub(super) fn streams(self) -> usize {
        if self == Self::Grpc { 10 } else { 1 }
    }

    /// Payload of an exchange, both ways together, where that is what counts.
    pub(super) fn bytes(self) -> Option<f64> {
        (self == Self::TcpThroughput).then_some(2.0 * 65536.0)
    }
}

/// What is spoken, and with it what proxies and backends are configured for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Grpc,
    Tcp,
}

impl Protocol {
    /// Of one thing for each protocol, the one for this: HTTP, gRPC, TCP.
    pub(super) fn choose<T: Copy>(self, [http, grpc, tcp]: [T; 3]) -> T {
        match self {
            Self::Http => http,
            Self::Grpc => grpc,
            Self::Tcp => tcp,
        }
    }
}

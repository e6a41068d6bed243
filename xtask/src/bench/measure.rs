//! What can be measured, as data.

/// One kind of exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// HTTP/1.1 keep-alive, a response of 1 KiB.
    Http,
    /// The same in an open loop, at a share of what the proxy has managed in the closed one of this round.
    HttpOpen,
    /// HTTP/2 with prior knowledge, 10 streams a connection, 128 bytes each way and a trailer.
    Grpc,
    /// The same with 1 MiB in the answer, as of a call that streams from the server.
    GrpcStream,
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
    /// nghttp2's, with this call.
    H2load(Call),
}

/// One call over gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) path: &'static str,
    /// Of the answer.
    pub(super) bytes: usize,
}

pub(super) const GRPC_UNARY: Call = Call { path: "/bench.Echo/Unary", bytes: 128 };
pub(super) const GRPC_STREAM: Call = Call { path: "/bench.Echo/Stream", bytes: 1024 * 1024 };

/// How much of its limit a proxy is given in an open loop.
const OPEN_SHARE: f64 = 0.6;

impl Measure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::HttpOpen => "http-open",
            Self::Grpc => "grpc",
            Self::GrpcStream => "grpc-stream",
            Self::TcpThroughput => "tcp-throughput",
            Self::TcpConnections => "tcp-connections",
        }
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Http | Self::HttpOpen => Protocol::Http,
            Self::Grpc | Self::GrpcStream => Protocol::Grpc,
            Self::TcpThroughput | Self::TcpConnections => Protocol::Tcp,
        }
    }

    pub(super) fn load(self) -> Load {
        match self {
            Self::Http | Self::HttpOpen => Load::Tools("http"),
            Self::Grpc => Load::H2load(GRPC_UNARY),
            Self::GrpcStream => Load::H2load(GRPC_STREAM),
            Self::TcpThroughput => Load::Tools("bulk"),
            Self::TcpConnections => Load::Tools("connect"),
        }
    }

    /// How many exchanges are under way on one connection.
    pub(super) fn streams(self) -> usize {
        if matches!(self, Self::Grpc | Self::GrpcStream) { 10 } else { 1 }
    }

    /// Whether it says something at so many connections.
    pub(super) fn suits(self, connections: usize) -> bool {
        // With one connection what waits for it is the client's own.
        self != Self::HttpOpen || connections > 1
    }

    /// For an open loop: by what measure a proxy's limit is known, and how much of that it gets.
    pub(super) fn share_of(self) -> Option<(Self, f64)> {
        (self == Self::HttpOpen).then_some((Self::Http, OPEN_SHARE))
    }

    /// Payload of an exchange, both ways together, where that is what counts.
    pub(super) fn bytes(self) -> Option<f64> {
        match self {
            Self::TcpThroughput => Some(2.0 * 65536.0),
            Self::GrpcStream => Some(GRPC_STREAM.bytes as f64),
            _ => None,
        }
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

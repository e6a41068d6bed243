//! IPv4 and IPv6, and the plan of addresses in both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// As an EndpointSlice writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// The option of ip(8) and curl(1).
    pub(crate) fn ip(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    /// The type of DNS records.
    pub(crate) fn record(self) -> &'static str {
        match self {
            Self::V4 => "A",
            Self::V6 => "AAAA",
        }
    }

    pub(crate) fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    pub(crate) fn any(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The range of the Services.
    pub(crate) fn services(self) -> &'static str {
        match self {
            Self::V4 => "10.96.0.0/16",
            Self::V6 => "fd00:96::/64",
        }
    }

    /// A Service's address.
    pub(crate) fn service(self, row: u8, at: u8) -> IpAddr {
        match self {
            Self::V4 => [10, 96, row, at].into(),
            Self::V6 => [0xfd00, 0x96, 0, 0, 0, 0, row.into(), at.into()].into(),
        }
    }

    /// An address outside of the cluster.
    pub(crate) fn outside(self, at: u8) -> IpAddr {
        match self {
            Self::V4 => [203, 0, 113, at].into(),
            Self::V6 => [0x2001, 0xdb8, 0x113, 0, 0, 0, 0, at.into()].into(),
        }
    }

    pub(crate) fn node(self, node: u8) -> IpAddr {
        match self {
            Self::V4 => [192, 168, 77, node].into(),
            Self::V6 => [0xfd00, 0x77, 0, 0, 0, 0, 0, node.into()].into(),
        }
    }

    pub(crate) fn pod(self, node: u8, pod: u8) -> IpAddr {
        match self {
            Self::V4 => [10, 244, node, pod].into(),
            Self::V6 => [0xfd00, 0x244, node.into(), 0, 0, 0, 0, pod.into()].into(),
        }
    }

    pub(crate) fn one_of_more_pods(self, node: u8, at: u8) -> IpAddr {
        match self {
            Self::V4 => [10, 245, node, at].into(),
            Self::V6 => [0xfd00, 0x245, node.into(), 0, 0, 0, 0, at.into()].into(),
        }
    }

    pub(crate) fn more_pods(self, node: u8) -> String {
        format!("{}/{}", self.one_of_more_pods(node, 0), self.pods_prefix())
    }

    pub(crate) fn pods_prefix(self) -> u8 {
        match self {
            Self::V4 => 24,
            Self::V6 => 64,
        }
    }

    pub(crate) fn host_prefix(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// Addresses are used at once; nobody else has them.
    pub(crate) fn nodad(self) -> &'static str {
        match self {
            Self::V4 => "",
            Self::V6 => " nodad",
        }
    }
}

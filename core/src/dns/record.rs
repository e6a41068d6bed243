//! Records, before they are written as bytes.

use std::net::IpAddr;

/// One resource record. It may be kept for [`TTL`](super::TTL) seconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// The name it belongs to, without a trailing dot.
    pub name: String,
    /// What it says.
    pub data: Data,
}

/// What a record says. Names have no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// A or AAAA.
    Address(IpAddr),
    /// CNAME.
    Alias(String),
    /// SRV, always of priority 0.
    Service {
        /// Share among the records of one answer.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// The name of who does.
        target: String,
    },
    /// PTR.
    Pointer(String),
}

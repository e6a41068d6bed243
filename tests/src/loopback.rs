//! Addresses that nobody else uses: every listener of a test has an IP of its own, so that a port it gives up while it
//! is down cannot be taken by somebody who asked for any port.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

/// A loopback address that is new in this process, and unlikely to be known to another one.
pub fn fresh_ip() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(127, 64 + (process::id() % 128) as u8, high, low)
}

/// An address that refuses connections.
pub fn dead_address() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(fresh_ip(), 9))
}

/// A ClusterIP that is new in this process. It exists nowhere.
pub fn fresh_vip() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    Ipv4Addr::new(10, 96, high, low)
}

//! Destinations that must be refused at once.
//!
//! A redirected connect() always succeeds, whatever the proxy does next. Where Kubernetes refuses, because a Service has
//! no endpoint, only the kernel can refuse in time; so it is told.

use std::{collections::BTreeSet, net::SocketAddr};

use crate::{
    service::{Family, ServicePort},
    table::Table,
};

/// How many destinations can be refused in the kernel. What is beyond is refused by the proxy: later, but as surely.
pub const MAX_REFUSED: usize = 65_536;

/// Destinations to refuse, TCP only, in order.
pub type RefuseSet = BTreeSet<SocketAddr>;

/// Every virtual address and TCP port behind which, seen from this proxy, there is nobody in the address's family.
pub fn refused_destinations(table: &Table) -> RefuseSet {
    let entries = table.iter().map(|(_, held)| &held.entry.value);
    entries
        .flat_map(|entry| {
            // An address that belongs to another Service is that one's business.
            let owned = |vip: &&std::net::IpAddr| {
                table.directory().by_vip(**vip).is_some_and(|owner| owner.spec.name == entry.spec.name)
            };
            // Of two ports with one number the first is the one that is routed to.
            let routed = |(at, port): &(usize, &ServicePort)| entry.spec.tcp_port(port.port) == Some(*at);
            let ports = entry.spec.ports.iter().enumerate().filter(routed);
            let vips: Vec<_> = entry.spec.vips().iter().filter(owned).copied().collect();
            ports.flat_map(move |(at, port)| {
                let dead = vips.clone().into_iter().filter(move |vip| !entry.reach.is_reachable(at, Family::of(*vip)));
                dead.map(|vip| SocketAddr::new(vip, port.port))
            })
        })
        .take(MAX_REFUSED)
        .collect()
}

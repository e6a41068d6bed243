//! Which name servers a pod asks.

use std::net::IpAddr;

/// The `nameserver` lines of a resolv.conf(5). Anything else in it is somebody else's; a scope (`fe80::1%eth0`) is
/// dropped, because a link-local server is matched by its address.
pub fn resolvers(resolv_conf: &str) -> Vec<IpAddr> {
    let servers = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let server = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        server.split('%').next()?.parse().ok()
    });
    servers.collect()
}

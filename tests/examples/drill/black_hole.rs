//! A pod that nobody can reach, as when its node has gone: packets to it and of it are lost.

use std::{net::Ipv4Addr, sync::Arc};

use wasmesh_tests::netns::Netns;

use crate::{ledger::Ledger, tap::Tap};

/// It is there until it is dropped.
pub(crate) struct BlackHole<'a> {
    netns: &'a Netns,
    _tap: Tap,
}

impl<'a> BlackHole<'a> {
    pub(crate) fn new(netns: &'a Netns, pod: Ipv4Addr, ledger: &Arc<Ledger>) -> Self {
        let tap = Tap::new(pod, ledger);
        // Where packets arrive, not where they are sent: what is dropped there has been seen on the way.
        netns.nft(&format!(
            "table ip hole {{ chain in {{ type filter hook prerouting priority raw; ip daddr {pod} drop; ip saddr {pod} drop; }}; }}\n"
        ));
        Self { netns, _tap: tap }
    }
}

impl Drop for BlackHole<'_> {
    fn drop(&mut self) {
        self.netns.nft("delete table ip hole\n");
    }
}

//! A plan as input of `iptables-restore --noflush` and `ip6tables-restore --noflush`, for where nftables is missing.
//!
//! Only chains of our own are written: naming one in such a text empties it and fills it anew, in one step per table.
//! The jump into it from a built-in chain stands outside of it, so it is written only where it is missing. IPv4 and IPv6
//! cannot be changed in one step; that and the cost of the refused destinations (a rule each) make nftables the better
//! choice wherever there is one.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{Plan, RefuseSet, Tracking};
use crate::service::Family;

const UNTRACKED: &str = "WASMESH_UNTRACKED";
const ARRIVING: &str = "WASMESH_ARRIVING";
const REFUSE: &str = "WASMESH_REFUSE";
const REDIRECT: &str = "WASMESH_REDIRECT";

/// A jump from a built-in chain into one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jump {
    /// The table.
    pub table: &'static str,
    /// The built-in chain.
    pub from: &'static str,
    /// Our chain.
    pub to: &'static str,
}

impl Jump {
    /// The jumps that make rules take effect.
    pub const ALL: [Self; 4] = [
        Self { table: "raw", from: "OUTPUT", to: UNTRACKED },
        Self { table: "raw", from: "PREROUTING", to: ARRIVING },
        Self { table: "filter", from: "OUTPUT", to: REFUSE },
        Self { table: "nat", from: "OUTPUT", to: REDIRECT },
    ];
}

/// One table's part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IptablesTable {
    name: &'static str,
    /// Our chains in it with their rules.
    chains: Vec<(&'static str, Vec<String>)>,
}

/// The text that brings tables into this state, `present` being the jumps that stand already.
pub fn restore_text(tables: &[IptablesTable], present: &BTreeSet<Jump>) -> String {
    tables.iter().map(|table| table.text(present)).collect()
}

impl IptablesTable {
    fn text(&self, present: &BTreeSet<Jump>) -> String {
        let mut text = format!("*{}\n", self.name);
        for (chain, _) in &self.chains {
            text += &format!(":{chain} - [0:0]\n");
        }
        for (chain, rules) in &self.chains {
            rules.iter().for_each(|rule| text += &format!("-A {chain} {rule}\n"));
        }
        let missing = Jump::ALL.iter().filter(|jump| jump.table == self.name && !present.contains(jump));
        for Jump { from, to, .. } in missing {
            text += &format!("-A {from} -j {to}\n");
        }
        text + "COMMIT\n"
    }
}

impl Plan {
    /// The tables of one family, redirection last, so that what it relies upon stands before it.
    pub fn iptables(&self, family: Family, refused: &RefuseSet) -> Vec<IptablesTable> {
        vec![
            self.raw_table(family),
            self.iptables_refuse(family, refused),
            IptablesTable { name: "nat", chains: vec![(REDIRECT, self.redirect(family))] },
        ]
    }

    /// The tables that stop redirecting and let open redirected connections live, redirection first.
    pub fn iptables_drained() -> Vec<IptablesTable> {
        // The rule keeps connection tracking registered, which translates the addresses of what is still open.
        let tracking = vec!["-m conntrack --ctstate NEW -j RETURN".to_owned()];
        vec![
            IptablesTable { name: "nat", chains: vec![(REDIRECT, tracking)] },
            IptablesTable { name: "filter", chains: vec![(REFUSE, Vec::new())] },
            IptablesTable { name: "raw", chains: vec![(UNTRACKED, Vec::new()), (ARRIVING, Vec::new())] },
        ]
    }

    /// The table that refuses these destinations of one family. It comes after NAT, so it asks connection tracking what
    /// the client dialled.
    pub fn iptables_refuse(&self, family: Family, refused: &RefuseSet) -> IptablesTable {
        let mine = self.refusable(refused).filter(|destination| Family::of(destination.ip()) == family);
        let rules =
            ["-p tcp ! --syn -j RETURN".to_owned(), format!("-m owner --uid-owner {} -j RETURN", self.proxy_uid)];
        let rules = rules.into_iter().chain(mine.map(refuse_rule)).collect();
        IptablesTable { name: "filter", chains: vec![(REFUSE, rules)] }
    }

    fn raw_table(&self, family: Family) -> IptablesTable {
        let own = match family {
            Family::V4 => "127.0.0.1",
            Family::V6 => "::1",
        };
        let (mut leaving, mut arriving) = (Vec::new(), Vec::new());
        if self.tracking != Tracking::All {
            leaving.push(format!("-s {own} -d {own} -j CT --notrack"));
        }
        if self.tracking == Tracking::OnlyCaptured {
            leaving.push(format!("! -o lo -m owner --uid-owner {} -j CT --notrack", self.proxy_uid));
            arriving.push("! -i lo -j CT --notrack".to_owned());
        }
        IptablesTable { name: "raw", chains: vec![(UNTRACKED, leaving), (ARRIVING, arriving)] }
    }

    fn redirect(&self, family: Family) -> Vec<String> {
        let mut rules = vec![
            format!("-m owner --uid-owner {} -j RETURN", self.proxy_uid),
            "-m addrtype --dst-type LOCAL -j RETURN".to_owned(),
        ];
        rules.extend(self.excluded.of(family).map(|range| format!("-d {range} -j RETURN")));
        for port in &self.excluded_ports {
            rules.extend(["tcp", "udp"].map(|protocol| format!("-p {protocol} --dport {port} -j RETURN")));
        }
        for resolver in self.resolvers.of(family) {
            let to = format!("-j REDIRECT --to-ports {}", self.dns_port);
            rules.push(format!("-p udp -d {resolver} --dport 53 {to}"));
            rules.push(format!("-p tcp -d {resolver} --dport 53 --syn {to}"));
        }
        let to = format!("-j REDIRECT --to-ports {}", self.outbound_port);
        rules.extend(self.captured.of(family).map(|range| format!("-p tcp -d {range} --syn {to}")));
        rules
    }
}

fn refuse_rule(destination: SocketAddr) -> String {
    let (ip, port) = (destination.ip(), destination.port());
    format!("-p tcp --syn -m conntrack --ctorigdst {ip} --ctorigdstport {port} -j REJECT --reject-with tcp-reset")
}

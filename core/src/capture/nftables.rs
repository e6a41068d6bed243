//! A plan as input of `nft -f -`: each text is one transaction, all or nothing.
//!
//! The rules of a table that is there are exchanged inside of its chains. To delete the table and to create it anew is one
//! transaction as well, but for a moment a packet may then meet the new chain before it has rules and the old one when it
//! has none any more: measured, one connection escaped in about 70 replacements. A chain, on the other hand, is read with
//! its old rules or with its new ones.
//!
//! Priorities are numbers because older versions of nft do not know the names on the output hook. No chain may be called
//! like a keyword (`redirect`, `notrack`).

use std::{fmt::Display, net::SocketAddr};

use super::{CidrSet, Plan, RefuseSet, TABLE, Tracking};
use crate::service::Family;

/// Matches what opens a connection. Without it the rules would take hold of connections that are already open: the
/// kernel hears of them for the first time when the rules are installed, and would redirect or refuse them in the middle.
const OPENS: &str = "tcp flags & (fin | syn | rst | ack) == syn";

/// Elements on one line: the parser of nft takes long lines badly.
const PER_LINE: usize = 64;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A chain that the kernel calls: its name, its place, its rules.
struct Chain {
    name: &'static str,
    hook: &'static str,
    rules: Vec<String>,
}

impl Plan {
    /// The whole table with these destinations refused, whether or not one is there.
    pub fn nftables(&self, refused: &RefuseSet) -> String {
        let refused: Vec<_> = self.refusable(refused).collect();
        let mut chains = self.tracking_chains();
        chains.push(Chain { name: "refuse", hook: "filter hook output priority -150", rules: self.refuse_rules() });
        chains.push(capture_chain(self.capture_rules()));
        let sets = FAMILIES.map(|family| refuse_set(family, &[]));
        let filled = FAMILIES.map(|family| refuse_set(family, &keys(&refused, family)));
        let emptied = FAMILIES.map(|family| format!("flush set inet {TABLE} refuse{}\n", digit(family)));
        exchange(&chains, &sets.concat(), &emptied.concat(), &filled.concat())
    }

    /// The table that stops redirecting and lets open redirected connections live. Their addresses are translated for
    /// as long as a NAT chain is registered and a rule uses connection tracking: without either they would go silent.
    pub fn nftables_drained() -> String {
        exchange(&[capture_chain(vec!["ct state new accept".to_owned()])], "", "", "")
    }

    /// A transaction that makes these, and no others, the refused destinations of the table that is there.
    pub fn nftables_refuse(&self, refused: &RefuseSet) -> String {
        let refused: Vec<_> = self.refusable(refused).collect();
        let mut text = String::new();
        for family in FAMILIES {
            let name = format!("inet {TABLE} refuse{}", digit(family));
            text += &format!("flush set {name}\n");
            for some in keys(&refused, family).chunks(PER_LINE) {
                text += &format!("add element {name} {{ {} }}\n", some.join(", "));
            }
        }
        text
    }

    fn tracking_chains(&self) -> Vec<Chain> {
        let mut leaving = vec![
            "ip saddr 127.0.0.1 ip daddr 127.0.0.1 notrack".to_owned(),
            "ip6 saddr ::1 ip6 daddr ::1 notrack".to_owned(),
        ];
        let leaving_hook = "filter hook output priority -300";
        match self.tracking {
            Tracking::All => Vec::new(),
            Tracking::SpareLoopback => vec![Chain { name: "leaving", hook: leaving_hook, rules: leaving }],
            Tracking::OnlyCaptured => {
                leaving.push(format!("meta skuid {} oifname != \"lo\" notrack", self.proxy_uid));
                // Else the kernel would meet these connections in the middle, when their answers arrive.
                let arriving = vec!["iifname != \"lo\" notrack".to_owned()];
                let arriving_hook = "filter hook prerouting priority -300";
                vec![
                    Chain { name: "leaving", hook: leaving_hook, rules: leaving },
                    Chain { name: "arriving", hook: arriving_hook, rules: arriving },
                ]
            }
        }
    }

    /// Before the NAT chain, so that what is refused is what the client dialled.
    fn refuse_rules(&self) -> Vec<String> {
        let refuse = |family| {
            let key = format!("{} daddr . tcp dport @refuse{}", ip(family), digit(family));
            format!("{OPENS} {key} counter reject with tcp reset")
        };
        let proxy = format!("meta skuid {} return", self.proxy_uid);
        std::iter::once(proxy).chain(FAMILIES.map(refuse)).collect()
    }

    fn capture_rules(&self) -> Vec<String> {
        let mut rules = vec![
            format!("meta skuid {} return comment \"the proxy itself\"", self.proxy_uid),
            "fib daddr type local return comment \"every address of this pod\"".to_owned(),
        ];
        rules
            .extend(FAMILIES.iter().filter_map(|family| Some(format!("{} return", towards(&self.excluded, *family)?))));
        if !self.excluded_ports.is_empty() {
            let ports = one_of(&strings(&self.excluded_ports));
            rules.push(format!("meta l4proto {{ tcp, udp }} th dport {ports} return"));
        }
        for resolver in FAMILIES.iter().filter_map(|family| towards(&self.resolvers, *family)) {
            rules.push(format!("{resolver} udp dport 53 redirect to :{}", self.dns_port));
            rules.push(format!("{resolver} tcp dport 53 {OPENS} redirect to :{}", self.dns_port));
        }
        for captured in FAMILIES.iter().filter_map(|family| towards(&self.captured, *family)) {
            rules.push(format!("{captured} {OPENS} redirect to :{}", self.outbound_port));
        }
        rules
    }
}

fn capture_chain(rules: Vec<String>) -> Chain {
    Chain { name: "capture", hook: "nat hook output priority -100", rules }
}

/// What is missing is created, empty; then all rules, and what `emptied` says, are taken out; then these are put in.
fn exchange(chains: &[Chain], sets: &str, emptied: &str, filled: &str) -> String {
    let declare = |chain: &Chain| format!("  chain {} {{ type {}; policy accept; }}\n", chain.name, chain.hook);
    let fill = |chain: &Chain| {
        let rules: String = chain.rules.iter().map(|rule| format!("    {rule}\n")).collect();
        format!("  chain {} {{\n{rules}  }}\n", chain.name)
    };
    let declared: String = chains.iter().map(declare).collect();
    let rules: String = chains.iter().map(fill).collect();
    format!(
        "table inet {TABLE} {{\n{sets}{declared}}}\nflush table inet {TABLE}\n{emptied}\
         table inet {TABLE} {{\n{filled}{rules}}}\n"
    )
}

fn refuse_set(family: Family, elements: &[String]) -> String {
    let elements = match elements {
        [] => String::new(),
        some => format!(" elements = {};", one_of(some)),
    };
    format!("  set refuse{} {{ type {} . inet_service;{elements} }}\n", digit(family), address_type(family))
}

/// A match of one family's destinations in these ranges, unless there are none.
fn towards(ranges: &CidrSet, family: Family) -> Option<String> {
    let ranges = strings(ranges.of(family));
    (!ranges.is_empty()).then(|| format!("{} daddr {}", ip(family), one_of(&ranges)))
}

fn one_of(elements: &[String]) -> String {
    let lines: Vec<_> = elements.chunks(PER_LINE).map(|some| some.join(", ")).collect();
    format!("{{ {} }}", lines.join(",\n      "))
}

fn keys(refused: &[SocketAddr], family: Family) -> Vec<String> {
    let mine = refused.iter().filter(|destination| Family::of(destination.ip()) == family);
    mine.map(|destination| format!("{} . {}", destination.ip(), destination.port())).collect()
}

fn strings<T: Display>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn digit(family: Family) -> char {
    match family {
        Family::V4 => '4',
        Family::V6 => '6',
    }
}

fn address_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    }
}

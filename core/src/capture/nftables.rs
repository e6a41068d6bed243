//! A plan as input of `nft -f -`: each text is one transaction, all or nothing.
//!
//! Priorities are numbers because older versions of nft do not know the names on the output hook.

use std::{fmt::Display, net::SocketAddr};

use super::{Plan, RefuseSet, TABLE, Tracking};
use crate::service::Family;

/// Matches what opens a connection. Without it the rules would take hold of connections that are already open: the
/// kernel hears of them for the first time when the rules are installed, and would redirect or refuse them in the middle.
const OPENS: &str = "tcp flags & (fin | syn | rst | ack) == syn";

/// Elements on one line: the parser of nft takes long lines badly.
const PER_LINE: usize = 64;

impl Plan {
    /// The whole table with these destinations refused. It replaces the one that is there, if one is.
    pub fn nftables(&self, refused: &RefuseSet) -> String {
        let refused: Vec<_> = self.refusable(refused).collect();
        let mut body = self.sets();
        for family in [Family::V4, Family::V6] {
            body += &set(&format!("refuse{}", digit(family)), refuse_type(family), "", &keys(&refused, family));
        }
        body += &self.untracked();
        body += &chain("refuse", "filter hook output priority -150", &self.refuse_rules());
        body += &chain("capture", "nat hook output priority -100", &self.redirect_rules());
        replacement(&body)
    }

    /// The table that stops redirecting and lets open redirected connections live. Their addresses are translated for
    /// as long as a NAT chain is registered and a rule uses connection tracking: without either they would go silent.
    pub fn nftables_drained() -> String {
        replacement(&chain("drained", "nat hook output priority -100", &["ct state new accept".to_owned()]))
    }

    /// A transaction that makes these, and no others, the refused destinations of the table that is there.
    pub fn nftables_refuse(&self, refused: &RefuseSet) -> String {
        let refused: Vec<_> = self.refusable(refused).collect();
        let mut text = String::new();
        for family in [Family::V4, Family::V6] {
            let name = format!("inet {TABLE} refuse{}", digit(family));
            text += &format!("flush set {name}\n");
            for some in keys(&refused, family).chunks(PER_LINE) {
                text += &format!("add element {name} {{ {} }}\n", some.join(", "));
            }
        }
        text
    }

    fn sets(&self) -> String {
        let mut text = String::new();
        let groups = [("captured", &self.captured), ("excluded", &self.excluded), ("resolver", &self.resolvers)];
        for (name, ranges) in groups {
            for family in [Family::V4, Family::V6] {
                let elements = strings(ranges.of(family));
                if !elements.is_empty() {
                    text += &set(&format!("{name}{}", digit(family)), address_type(family), "interval", &elements);
                }
            }
        }
        if !self.excluded_ports.is_empty() {
            text += &set("excluded_ports", "inet_service", "", &strings(&self.excluded_ports));
        }
        text
    }

    fn untracked(&self) -> String {
        let mut rules = vec![
            "ip saddr 127.0.0.1 ip daddr 127.0.0.1 notrack".to_owned(),
            "ip6 saddr ::1 ip6 daddr ::1 notrack".to_owned(),
        ];
        match self.tracking {
            Tracking::All => String::new(),
            Tracking::SpareLoopback => chain("untrack", "filter hook output priority -300", &rules),
            Tracking::OnlyCaptured => {
                rules.push(format!("meta skuid {} oifname != \"lo\" notrack", self.proxy_uid));
                // Else the kernel would meet these connections in the middle, when their answers arrive.
                let arriving = ["iifname != \"lo\" notrack".to_owned()];
                chain("untrack", "filter hook output priority -300", &rules)
                    + &chain("arriving", "filter hook prerouting priority -300", &arriving)
            }
        }
    }

    /// Before the NAT chain, so that what is refused is what the client dialled.
    fn refuse_rules(&self) -> Vec<String> {
        vec![
            format!("meta skuid {} return", self.proxy_uid),
            format!("{OPENS} ip daddr . tcp dport @refuse4 counter reject with tcp reset"),
            format!("{OPENS} ip6 daddr . tcp dport @refuse6 counter reject with tcp reset"),
        ]
    }

    fn redirect_rules(&self) -> Vec<String> {
        let mut rules = vec![
            format!("meta skuid {} return comment \"the proxy itself\"", self.proxy_uid),
            "fib daddr type local return comment \"every address of this pod\"".to_owned(),
        ];
        for family in [Family::V4, Family::V6] {
            if self.excluded.has(family) {
                rules.push(format!("{} daddr @excluded{} return", ip(family), digit(family)));
            }
        }
        if !self.excluded_ports.is_empty() {
            rules.push("meta l4proto { tcp, udp } th dport @excluded_ports return".to_owned());
        }
        for family in [Family::V4, Family::V6] {
            if self.resolvers.has(family) {
                let resolver = format!("{} daddr @resolver{}", ip(family), digit(family));
                rules.push(format!("{resolver} udp dport 53 redirect to :{}", self.dns_port));
                rules.push(format!("{resolver} tcp dport 53 {OPENS} redirect to :{}", self.dns_port));
            }
        }
        for family in [Family::V4, Family::V6] {
            if self.captured.has(family) {
                let captured = format!("{} daddr @captured{}", ip(family), digit(family));
                rules.push(format!("{captured} {OPENS} redirect to :{}", self.outbound_port));
            }
        }
        rules
    }
}

/// Created if missing, deleted, created: so one transaction replaces the table whether or not it is there.
fn replacement(body: &str) -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n{body}}}\n")
}

fn chain(name: &str, hook: &str, rules: &[String]) -> String {
    let rules: String = rules.iter().map(|rule| format!("    {rule}\n")).collect();
    format!("  chain {name} {{\n    type {hook}; policy accept;\n{rules}  }}\n")
}

fn set(name: &str, kind: &str, flags: &str, elements: &[String]) -> String {
    let flags = if flags.is_empty() { String::new() } else { format!("    flags {flags};\n") };
    let lines: Vec<_> = elements.chunks(PER_LINE).map(|some| some.join(", ")).collect();
    let elements = match lines.join(",\n      ") {
        none if none.is_empty() => none,
        some => format!("    elements = {{ {some} }}\n"),
    };
    format!("  set {name} {{\n    type {kind};\n{flags}{elements}  }}\n")
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

fn refuse_type(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4_addr . inet_service",
        Family::V6 => "ipv6_addr . inet_service",
    }
}

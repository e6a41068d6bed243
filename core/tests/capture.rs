//! The capture plan: its normal form, its texts, and what the proxy and the holder of the rules say to each other.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use proptest::{collection, prelude::*, sample};
use support::{any_endpoints, any_name, any_spec, entry, ip, socket, spec, tcp_port};
use wasmesh_core::{
    capture::{
        Cidr, CidrSet, InvalidPlan, Jump, MAX_REFUSED, Plan, PlanSpec, RefuseSet, Tracking,
        message::{Decoder, HELLO, ProtocolError, Refuse, Reply},
        refused_destinations, resolvers, restore_text,
    },
    endpoint::EndpointSet,
    route::{Refusal, Route, route_address},
    service::{Family, ServicePort, ServiceSpec, Transport},
    table::{ServiceChange, Table, Update},
};

fn cidrs(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn wanted() -> PlanSpec {
    PlanSpec {
        service_cidrs: cidrs(&["10.96.0.0/12", "fd00:96::/112"]),
        outbound_port: 19001,
        dns_port: 19053,
        proxy_uid: 19000,
        ..PlanSpec::default()
    }
}

fn destinations(texts: &[&str]) -> RefuseSet {
    texts.iter().map(|text| socket(text)).collect()
}

// Few addresses and short prefixes, so that ranges meet.
fn any_cidr() -> impl Strategy<Value = Cidr> {
    let v4 =
        (0_u32..64, 24_u8..=32).prop_map(|(low, prefix)| Cidr::new(Ipv4Addr::from(0x0a60_0000 | low).into(), prefix));
    let v6 = (0_u128..64, 120_u8..=128)
        .prop_map(|(low, prefix)| Cidr::new(Ipv6Addr::from(0xfd00 << 112 | low).into(), prefix));
    prop_oneof![v4, v6, Just(Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0))]
}

fn any_cidrs() -> impl Strategy<Value = Vec<Cidr>> {
    collection::vec(any_cidr(), 0..12)
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0_u32..80).prop_map(|low| IpAddr::from(Ipv4Addr::from(0x0a60_0000 | low))),
        (0_u128..80).prop_map(|low| IpAddr::from(Ipv6Addr::from(0xfd00 << 112 | low))),
    ]
}

fn any_refused() -> impl Strategy<Value = RefuseSet> {
    collection::btree_set((any_address(), 1_u16..5).prop_map(SocketAddr::from), 0..200)
}

fn any_wish() -> impl Strategy<Value = PlanSpec> {
    let ranges = (any_cidrs(), any_cidrs(), any_cidrs());
    let rest = (collection::vec(1_u16..6, 0..4), collection::vec(any_address(), 0..3));
    let tracking = sample::select(vec![Tracking::All, Tracking::SpareLoopback, Tracking::OnlyCaptured]);
    (ranges, rest, tracking).prop_map(
        |((service_cidrs, include_cidrs, exclude_cidrs), (ports, resolvers), tracking)| PlanSpec {
            service_cidrs,
            include_cidrs,
            exclude_cidrs,
            exclude_ports: ports,
            resolvers,
            tracking,
            ..wanted()
        },
    )
}

/// Everything that a plan can be written as.
fn texts(plan: &Plan, refused: &RefuseSet) -> Vec<String> {
    let none = BTreeSet::new();
    let iptables = [Family::V4, Family::V6].map(|family| restore_text(&plan.iptables(family, refused), &none));
    [plan.nftables(refused), plan.nftables_refuse(refused)].into_iter().chain(iptables).collect()
}

proptest! {
    #[test]
    fn a_set_of_ranges_holds_what_its_ranges_hold(ranges in any_cidrs(), address in any_address()) {
        let set: CidrSet = ranges.iter().copied().collect();
        prop_assert_eq!(set.contains(address), ranges.iter().any(|range| range.contains(address)));
    }

    #[test]
    fn sets_of_the_same_addresses_are_equal(ranges in any_cidrs().prop_shuffle(), at in any::<sample::Index>()) {
        let set: CidrSet = ranges.iter().copied().collect();
        let sorted: BTreeSet<Cidr> = ranges.iter().copied().collect();
        prop_assert_eq!(&set, &sorted.into_iter().collect());
        // Normal once is normal for ever, also with something in it twice.
        let again = set.iter().copied().chain(ranges.get(at.index(ranges.len().max(1))).copied());
        prop_assert_eq!(&set, &again.collect());
    }

    #[test]
    fn ranges_survive_being_written(range in any_cidr()) {
        prop_assert_eq!(range.to_string().parse(), Ok(range));
    }

    #[test]
    fn a_plan_rendered_twice_is_the_same_text_whatever_order_it_was_wished_in(
        wish in any_wish(), refused in any_refused()
    ) {
        let Ok(plan) = Plan::new(&wish) else { return Ok(()) };
        let mut turned = wish.clone();
        turned.service_cidrs.reverse();
        turned.service_cidrs.extend(wish.service_cidrs);
        turned.exclude_ports.reverse();
        turned.resolvers.reverse();
        let turned = Plan::new(&turned).unwrap();
        prop_assert_eq!(texts(&plan, &refused), texts(&plan, &refused));
        prop_assert_eq!(texts(&plan, &refused), texts(&turned, &refused));
    }

    #[test]
    fn only_what_is_captured_is_refused(wish in any_wish(), refused in any_refused()) {
        let Ok(plan) = Plan::new(&wish) else { return Ok(()) };
        let captured = |ip| wish.service_cidrs.iter().chain(&wish.include_cidrs).any(|range| range.contains(ip));
        let excluded = |to: &SocketAddr| {
            wish.exclude_cidrs.iter().any(|range| range.contains(to.ip())) || wish.exclude_ports.contains(&to.port())
        };
        for destination in plan.refusable(&refused) {
            prop_assert!(refused.contains(&destination) && captured(destination.ip()) && !excluded(&destination));
        }
    }

    #[test]
    fn messages_arrive_as_they_were_sent_in_whatever_pieces(
        sets in collection::vec(any_refused(), 1..4), piece in 1_usize..50
    ) {
        let messages: Vec<_> =
            sets.into_iter().zip(1..).map(|(destinations, sequence)| Refuse { sequence, destinations }).collect();
        let text: String = std::iter::once(format!("{HELLO}\n")).chain(messages.iter().map(Refuse::encode)).collect();
        let mut decoder = Decoder::default();
        let arrived = text.as_bytes().chunks(piece).map(|bytes| decoder.push(bytes).unwrap()).filter(Option::is_some);
        // Of several messages in one piece only the last counts.
        let arrived: Vec<_> = arrived.flatten().collect();
        prop_assert_eq!(arrived.last(), messages.last());
        prop_assert!(arrived.iter().all(|message| messages.contains(message)));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in collection::vec(any::<u8>(), 0..300), greeted: bool) {
        let mut decoder = Decoder::default();
        if greeted {
            decoder.push(format!("{HELLO}\n").as_bytes()).unwrap();
        }
        let _ = decoder.push(&bytes);
        let _ = Reply::decode(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn what_the_kernel_refuses_is_what_the_proxy_would_refuse(
        services in collection::vec(any_name().prop_flat_map(|name| (any_spec(name), any_endpoints())), 0..5)
    ) {
        let changed = services.into_iter().map(|(spec, endpoints)| ServiceChange {
            name: spec.name.clone(),
            entry: Some(entry(spec, &endpoints)),
            endpoints: None,
        });
        let (table, _) = Table::default().apply(Update { removed: Vec::new(), changed: changed.collect() });
        let refused = refused_destinations(&table);
        for vip in support::VIPS {
            for port in [79, 80, 81, 82, 443, 8080, 9090] {
                let destination = SocketAddr::new(ip(vip), port);
                let by_proxy = route_address(&table, destination, &[]) == Route::Refuse(Refusal::NoEndpoints);
                prop_assert_eq!(refused.contains(&destination), by_proxy, "{}", destination);
            }
        }
    }
}

#[test]
fn ranges_are_written_in_one_way() {
    #[track_caller]
    fn check(ranges: &[&str], expected: &[&str]) {
        let set: CidrSet = cidrs(ranges).into_iter().collect();
        assert_eq!(set.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
    }
    check(&["10.96.7.7/12"], &["10.96.0.0/12"]);
    check(&["10.0.0.1/32", "10.0.0.1"], &["10.0.0.1"]);
    check(&["10.0.0.0/25", "10.0.0.128/25"], &["10.0.0.0/24"]);
    check(&["10.0.0.64/26", "10.0.0.128/25", "10.0.0.0/26"], &["10.0.0.0/24"]);
    check(&["10.0.0.128/25", "10.0.1.0/25"], &["10.0.0.128/25", "10.0.1.0/25"]);
    check(&["fd00::/8", "10.0.0.0/8", "fd00::1"], &["10.0.0.0/8", "fd00::/8"]);
    check(&["0.0.0.0/1", "128.0.0.0/1", "::/0"], &["0.0.0.0/0", "::/0"]);
}

#[test]
fn what_is_no_range_is_told() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let error = text.parse::<Cidr>().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for text in ["", "/", "10.0.0.0/", "10.0.0/8", "10.0.0.0/+8", "10.0.0.0/8/8", "web", "10.0.0.0/300"] {
        check(text, "ADDRESS/BITS");
    }
    check("10.0.0.0/33", "IPv4 has 32 bits");
    check("fd00::/129", "IPv6 has 128 bits");
    check("::ffff:10.0.0.0/104", "write it as IPv4");
}

#[test]
fn a_plan_that_makes_no_sense_is_none() {
    let nothing = PlanSpec { service_cidrs: Vec::new(), ..wanted() };
    assert_eq!(Plan::new(&nothing), Err(InvalidPlan::NothingToCapture));
    assert_eq!(Plan::new(&PlanSpec { outbound_port: 0, ..wanted() }), Err(InvalidPlan::PortZero));
    assert_eq!(Plan::new(&PlanSpec { proxy_uid: 0, ..wanted() }), Err(InvalidPlan::ProxyIsRoot));
}

#[test]
fn the_listeners_that_must_answer_follow_from_what_is_captured() {
    let v4_only = PlanSpec { service_cidrs: cidrs(&["10.96.0.0/12"]), ..wanted() };
    let listeners = |wish: &PlanSpec| Plan::new(wish).unwrap().listeners();
    assert_eq!(listeners(&v4_only), [socket("127.0.0.1:19001")]);
    assert_eq!(listeners(&wanted()), [socket("127.0.0.1:19001"), socket("[::1]:19001")]);
    let names = PlanSpec { resolvers: vec![ip("10.96.0.10")], ..v4_only };
    assert_eq!(listeners(&names), [socket("127.0.0.1:19001"), socket("127.0.0.1:19053")]);
}

#[test]
fn the_table_for_nft() {
    let wish = PlanSpec {
        exclude_cidrs: cidrs(&["10.96.9.0/24"]),
        exclude_ports: vec![25, 22],
        resolvers: vec![ip("10.96.0.10")],
        ..wanted()
    };
    let refused = destinations(&["10.96.0.7:80", "[fd00:96::7]:80", "10.96.9.9:80", "10.96.0.7:25", "10.96.0.10:53"]);
    let expected = r#"table inet wasmesh {
  set refuse4 { type ipv4_addr . inet_service; }
  set refuse6 { type ipv6_addr . inet_service; }
  chain leaving { type filter hook output priority -300; policy accept; }
  chain refuse { type filter hook output priority -150; policy accept; }
  chain capture { type nat hook output priority -100; policy accept; }
}
flush table inet wasmesh
flush set inet wasmesh refuse4
flush set inet wasmesh refuse6
table inet wasmesh {
  set refuse4 { type ipv4_addr . inet_service; elements = { 10.96.0.7 . 80 }; }
  set refuse6 { type ipv6_addr . inet_service; elements = { fd00:96::7 . 80 }; }
  chain leaving {
    ip saddr 127.0.0.1 ip daddr 127.0.0.1 notrack
    ip6 saddr ::1 ip6 daddr ::1 notrack
  }
  chain refuse {
    meta skuid 19000 return
    tcp flags & (fin | syn | rst | ack) == syn ip daddr . tcp dport @refuse4 counter reject with tcp reset
    tcp flags & (fin | syn | rst | ack) == syn ip6 daddr . tcp dport @refuse6 counter reject with tcp reset
  }
  chain capture {
    meta skuid 19000 return comment "the proxy itself"
    fib daddr type local return comment "every address of this pod"
    ip daddr { 10.96.9.0/24 } return
    meta l4proto { tcp, udp } th dport { 22, 25 } return
    ip daddr { 10.96.0.10 } udp dport 53 redirect to :19053
    ip daddr { 10.96.0.10 } tcp dport 53 tcp flags & (fin | syn | rst | ack) == syn redirect to :19053
    ip daddr { 10.96.0.0/12 } tcp flags & (fin | syn | rst | ack) == syn redirect to :19001
    ip6 daddr { fd00:96::/112 } tcp flags & (fin | syn | rst | ack) == syn redirect to :19001
  }
}
"#;
    assert_eq!(Plan::new(&wish).unwrap().nftables(&refused), expected);
}

#[test]
fn the_tables_for_iptables() {
    let plan = Plan::new(&PlanSpec { exclude_ports: vec![22], ..wanted() }).unwrap();
    let expected = "*raw
:WASMESH_UNTRACKED - [0:0]
:WASMESH_ARRIVING - [0:0]
-A WASMESH_UNTRACKED -s ::1 -d ::1 -j CT --notrack
-A PREROUTING -j WASMESH_ARRIVING
COMMIT
*filter
:WASMESH_REFUSE - [0:0]
-A WASMESH_REFUSE -p tcp ! --syn -j RETURN
-A WASMESH_REFUSE -m owner --uid-owner 19000 -j RETURN
-A WASMESH_REFUSE -p tcp --syn -m conntrack --ctorigdst fd00:96::7 --ctorigdstport 80 -j REJECT --reject-with tcp-reset
-A OUTPUT -j WASMESH_REFUSE
COMMIT
*nat
:WASMESH_REDIRECT - [0:0]
-A WASMESH_REDIRECT -m owner --uid-owner 19000 -j RETURN
-A WASMESH_REDIRECT -m addrtype --dst-type LOCAL -j RETURN
-A WASMESH_REDIRECT -p tcp --dport 22 -j RETURN
-A WASMESH_REDIRECT -p udp --dport 22 -j RETURN
-A WASMESH_REDIRECT -p tcp -d fd00:96::/112 --syn -j REDIRECT --to-ports 19001
-A OUTPUT -j WASMESH_REDIRECT
COMMIT
";
    // A jump that stands already is not written again.
    let present = Jump::ALL.into_iter().filter(|jump| jump.table == "raw" && jump.from == "OUTPUT").collect();
    let refused = destinations(&["[fd00:96::7]:80", "10.96.0.7:80"]);
    assert_eq!(restore_text(&plan.iptables(Family::V6, &refused), &present), expected);
}

#[test]
fn drained_rules_keep_address_translation_alive() {
    let drained = Plan::nftables_drained();
    assert!(drained.contains("type nat hook output priority -100") && drained.contains("ct state new accept"));
    assert!(!drained.contains("redirect"));
    let drained = restore_text(&Plan::iptables_drained(), &Jump::ALL.into_iter().collect());
    assert!(drained.contains("-m conntrack --ctstate NEW") && !drained.contains("REDIRECT --to-ports"));
}

#[test]
fn the_refused_destinations_change_in_one_transaction() {
    let plan = Plan::new(&wanted()).unwrap();
    let expected = "flush set inet wasmesh refuse4
add element inet wasmesh refuse4 { 10.96.0.7 . 80, 10.96.0.7 . 81 }
flush set inet wasmesh refuse6
";
    // What lies outside of the ranges is nobody's business of ours.
    let refused = destinations(&["10.96.0.7:81", "10.96.0.7:80", "192.0.2.1:80"]);
    assert_eq!(plan.nftables_refuse(&refused), expected);
}

#[test]
fn row_8_only_tcp_ports_without_endpoints_are_refused_per_family() {
    let udp = ServicePort { transport: Transport::Udp, ..tcp_port(53) };
    let one_family = ServiceSpec { ports: vec![tcp_port(80), udp], ..spec("shop/web", &["10.96.0.1", "fd00::1"]) };
    let endpoints = EndpointSet::new([support::endpoint("10.0.0.1:80")]);
    let change = |spec: ServiceSpec, endpoints: &EndpointSet| ServiceChange {
        name: spec.name.clone(),
        entry: Some(entry(spec, endpoints)),
        endpoints: None,
    };
    let nobody = EndpointSet::default();
    let changed = vec![change(one_family, &endpoints), change(spec("shop/db", &["10.96.0.2"]), &nobody)];
    let (table, _) = Table::default().apply(Update { removed: Vec::new(), changed });
    assert_eq!(refused_destinations(&table), destinations(&["10.96.0.2:80", "[fd00::1]:80"]));
}

#[test]
fn what_is_no_message_is_told() {
    #[track_caller]
    fn check(text: &str, expected: &ProtocolError) {
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(text.as_bytes()).as_ref(), Err(expected), "{text:?}");
    }
    let unexpected = |expected, found: &str| ProtocolError::Unexpected { expected, found: found.to_owned() };
    check("GET / HTTP/1.1\r\n", &ProtocolError::Hello);
    check("wasmesh-capture 2\n", &ProtocolError::Hello);
    check(&"x".repeat(65), &ProtocolError::LineTooLong);
    let hello = |rest: &str| format!("{HELLO}\n{rest}");
    check(&hello("allow 1 0\n"), &unexpected("refuse NUMBER COUNT", "allow 1 0"));
    check(&hello("refuse 1\n"), &unexpected("refuse NUMBER COUNT", "refuse 1"));
    check(&hello("refuse 1 1\n10.0.0.1\n"), &unexpected("ADDRESS:PORT", "10.0.0.1"));
    check(&hello("refuse 1 1\n10.0.0.1:0\n"), &unexpected("ADDRESS:PORT", "10.0.0.1:0"));
    check(&hello("refuse 1 1\n[fe80::1%2]:80\n"), &unexpected("ADDRESS:PORT", "[fe80::1%2]:80"));
    check(&hello("refuse 0 0\n"), &ProtocolError::OldSequence { last: 0, found: 0 });
    check(&hello("refuse 2 0\nrefuse 2 0\n"), &ProtocolError::OldSequence { last: 2, found: 2 });
    check(&hello("refuse 1 65537\n"), &ProtocolError::TooMany(MAX_REFUSED + 1));
}

#[test]
fn replies_survive_being_written() {
    for reply in [Reply::Done(7), Reply::Failed(8, "no such table".to_owned()), Reply::Error("what?".to_owned())] {
        assert_eq!(Reply::decode(&reply.encode()), Some(reply));
    }
    assert_eq!(Reply::Failed(1, "two\nlines".to_owned()).encode(), "failed 1 two lines\n");
    assert_eq!(Reply::decode("fine"), None);
}

#[test]
fn name_servers_are_found() {
    let text = "# nameserver 192.0.2.9\nsearch shop.svc\nnameserver 10.96.0.10\n  nameserver\tfd00::a \nnameserver fe80::1%eth0\noptions ndots:5\nnameserver web\n";
    assert_eq!(resolvers(text), [ip("10.96.0.10"), ip("fd00::a"), ip("fe80::1")]);
}

//! What names mean, by the rows of docs/services.md.

mod support;

use support::{endpoint, entry, ip, spec, tcp_port};
use wasmesh_core::{
    dns::{Answer, Data, Record, RecordType, Zone},
    endpoint::{Conditions, Endpoint, EndpointSet},
    service::{ServiceKind, ServicePort, ServiceSpec, Transport},
    table::{ServiceChange, Table, Update},
};

/// `shop/web` with two ports and both families, `shop/db` headless with its endpoints subscribed, `shop/far` headless without, and
/// aliases.
fn table() -> Table {
    let port = |name: &str, port, transport| ServicePort { name: name.to_owned(), transport, ..tcp_port(port) };
    let ports = vec![port("http", 80, Transport::Tcp), port("dns", 53, Transport::Udp)];
    let web = ServiceSpec { ports: ports.clone(), ..spec("shop/web", &["10.96.0.1", "fd00::1"]) };
    let headless = |name: &str, ports: &[ServicePort]| ServiceSpec {
        kind: ServiceKind::Headless,
        ports: ports.to_vec(),
        ..spec(name, &[])
    };
    let alias = |name: &str, target: &str| ServiceSpec {
        kind: ServiceKind::ExternalName { target: target.to_owned() },
        ports: Vec::new(),
        ..spec(name, &[])
    };
    let pod = |address: &str, port: &str, hostname: &str, ready| Endpoint {
        port: port.to_owned(),
        hostname: hostname.to_owned(),
        conditions: Conditions { ready, ..Conditions::default() },
        ..endpoint(address)
    };
    let pods = [
        pod("10.244.1.1:8080", "http", "db-0", true),
        pod("[fd00::9:1]:8080", "http", "db-0", true),
        pod("10.244.1.2:8080", "http", "", true),
        pod("10.244.1.3:8080", "http", "db-2", false),
    ];
    let services = [
        (web, None),
        (ServiceSpec { ports: ports.clone(), ..spec("shop/pending", &[]) }, None),
        (headless("shop/db", &ports), Some(EndpointSet::new(pods))),
        (headless("shop/far", &ports), None),
        (headless("shop/none", &ports), Some(EndpointSet::default())),
        (headless("shop/bare", &[]), Some(EndpointSet::new([pod("10.244.2.1:0", "", "", true)]))),
        (alias("shop/out", "Example.COM."), None),
        (alias("shop/in", "out.shop.svc.cluster.local"), None),
        (alias("shop/near", "web.shop.svc.cluster.local"), None),
        (alias("shop/gone", "no.shop.svc.cluster.local"), None),
        (alias("shop/self", "self.shop.svc.cluster.local"), None),
        (alias("shop/ping", "pong.shop.svc.cluster.local"), None),
        (alias("shop/pong", "ping.shop.svc.cluster.local"), None),
        (alias("shop/slow", "far.shop.svc.cluster.local"), None),
        (alias("shop/number", "192.0.2.1"), None),
    ];
    let changed = services.into_iter().map(|(spec, endpoints): (ServiceSpec, Option<EndpointSet>)| ServiceChange {
        name: spec.name.clone(),
        entry: Some(entry(spec, &EndpointSet::default())),
        endpoints: endpoints.map(|endpoints| endpoints.as_replacement()),
    });
    let (table, rejected) = Table::default().apply(Update { removed: Vec::new(), changed: changed.collect() });
    assert_eq!(rejected, []);
    table
}

fn line(record: &Record) -> String {
    let name = record.name.replace(".svc.cluster.local", "…");
    let data = match &record.data {
        Data::Address(ip) => ip.to_string(),
        Data::Alias(target) => format!("CNAME {target}"),
        Data::Service { weight, port, target } => format!("SRV {weight} {port} {target}"),
        Data::Pointer(target) => format!("PTR {target}"),
    };
    format!("{name} {}", data.replace(".svc.cluster.local", "…"))
}

/// An answer as lines: the records, `+` before those that come with it, `>` before the name where it goes on.
fn text(name: &str, record_type: RecordType) -> Vec<String> {
    match Zone::new("cluster.local").resolve(&table(), name, record_type) {
        Answer::Records(records) => {
            let answers = records.answers.iter().map(line);
            let additional = records.additional.iter().map(|record| format!("+ {}", line(record)));
            answers.chain(additional).chain(records.continues_at.map(|name| format!("> {name}"))).collect()
        }
        Answer::NoData => vec!["no data".to_owned()],
        Answer::NeedsEndpoints(service) => vec![format!("needs {service}")],
        Answer::Unknown => vec!["unknown".to_owned()],
    }
}

#[track_caller]
fn check(name: &str, record_type: RecordType, expected: &[&str]) {
    let full = if name.ends_with('.') { name.to_owned() } else { format!("{name}.svc.cluster.local") };
    assert_eq!(text(&full, record_type), expected, "{full} {record_type:?}");
}

#[test]
fn a_virtual_address_is_the_answer_for_its_family() {
    check("web.shop", RecordType::A, &["web.shop… 10.96.0.1"]);
    check("WEB.shop", RecordType::Aaaa, &["WEB.shop… fd00::1"]);
    check("web.shop", RecordType::Other, &["no data"]);
    check("web.shop", RecordType::Cname, &["no data"]);
    check("_http._tcp.web.shop", RecordType::A, &["_http._tcp.web.shop… 10.96.0.1"]);
}

#[test]
fn what_is_not_known_is_left_to_others() {
    for name in ["no.shop", "web.no", "no", "_http._udp.web.shop", "_no._tcp.web.shop", "x.web.shop.", "pending.shop"] {
        check(name, RecordType::A, &["unknown"]);
    }
    check("shop", RecordType::A, &["no data"]);
    check("svc.cluster.local.", RecordType::A, &["no data"]);
}

#[test]
fn row_10_a_headless_service_is_its_ready_pods() {
    check("db.shop", RecordType::A, &["db.shop… 10.244.1.1", "db.shop… 10.244.1.2"]);
    check("db.shop", RecordType::Aaaa, &["db.shop… fd00::9:1"]);
    check("far.shop", RecordType::A, &["needs shop/far"]);
    check("none.shop", RecordType::A, &["unknown"]);
    check("bare.shop", RecordType::A, &["bare.shop… 10.244.2.1"]);
    check("bare.shop", RecordType::Srv, &["no data"]);
    check("bare.shop", RecordType::Aaaa, &["no data"]);
}

#[test]
fn row_12_a_pod_has_a_name_of_its_own() {
    check("db-0.db.shop", RecordType::A, &["db-0.db.shop… 10.244.1.1"]);
    check("db-0.db.shop", RecordType::Aaaa, &["db-0.db.shop… fd00::9:1"]);
    check("10-244-1-2.db.shop", RecordType::A, &["10-244-1-2.db.shop… 10.244.1.2"]);
    check("db-2.db.shop", RecordType::A, &["unknown"]);
    check("db-0.web.shop", RecordType::A, &["needs shop/web"]);
}

#[test]
fn row_16_an_external_name_is_an_alias_to_its_end() {
    check("out.shop", RecordType::A, &["out.shop… CNAME example.com", "> example.com"]);
    check("in.shop", RecordType::A, &["in.shop… CNAME out.shop…", "out.shop… CNAME example.com", "> example.com"]);
    check("in.shop", RecordType::Cname, &["in.shop… CNAME out.shop…"]);
    check("near.shop", RecordType::A, &["near.shop… CNAME web.shop…", "web.shop… 10.96.0.1"]);
    check("near.shop", RecordType::Other, &["near.shop… CNAME web.shop…"]);
    check("gone.shop", RecordType::A, &["gone.shop… CNAME no.shop…", "> no.shop.svc.cluster.local"]);
    check("slow.shop", RecordType::A, &["needs shop/far"]);
    check("number.shop", RecordType::A, &["unknown"]);
    check("db-0.out.shop", RecordType::A, &["unknown"]);
}

#[test]
fn aliases_in_a_circle_end() {
    check("self.shop", RecordType::A, &["self.shop… CNAME self.shop…"]);
    check("ping.shop", RecordType::A, &["ping.shop… CNAME pong.shop…", "pong.shop… CNAME ping.shop…"]);
}

#[test]
fn row_34_ports_have_records() {
    let vips = ["+ web.shop… 10.96.0.1", "+ web.shop… fd00::1"];
    check("_http._tcp.web.shop", RecordType::Srv, &["_http._tcp.web.shop… SRV 50 80 web.shop…", vips[0], vips[1]]);
    check("_DNS._UDP.web.shop", RecordType::Srv, &["_DNS._UDP.web.shop… SRV 50 53 web.shop…", vips[0], vips[1]]);
    let both = ["web.shop… SRV 25 53 web.shop…", "web.shop… SRV 25 80 web.shop…", vips[0], vips[1]];
    check("web.shop", RecordType::Srv, &both);
    let name = "_http._tcp.db.shop";
    check(
        name,
        RecordType::Srv,
        &[
            "_http._tcp.db.shop… SRV 33 8080 10-244-1-2.db.shop…",
            "_http._tcp.db.shop… SRV 33 8080 db-0.db.shop…",
            "+ 10-244-1-2.db.shop… 10.244.1.2",
            "+ db-0.db.shop… 10.244.1.1",
            "+ db-0.db.shop… fd00::9:1",
        ],
    );
}

#[test]
fn row_34_addresses_have_names() {
    check("1.0.96.10.in-addr.arpa.", RecordType::Ptr, &["1.0.96.10.in-addr.arpa PTR web.shop…"]);
    check("1.0.96.10.in-addr.arpa.", RecordType::A, &["unknown"]);
    check("1.1.244.10.in-addr.arpa.", RecordType::Ptr, &["1.1.244.10.in-addr.arpa PTR db-0.db.shop…"]);
    // A pod without a hostname has a name that nobody asked for.
    check("2.1.244.10.in-addr.arpa.", RecordType::Ptr, &["unknown"]);
    check("1.2.0.192.in-addr.arpa.", RecordType::Ptr, &["unknown"]);
}

#[test]
fn a_hundred_pods_have_a_share_each() {
    let pods =
        (0..300).map(|n| Endpoint { port: "http".into(), ..endpoint(&format!("10.1.{}.{}:80", n / 250, n % 250 + 1)) });
    let ports = vec![ServicePort { name: "http".into(), ..tcp_port(80) }];
    let spec = ServiceSpec { kind: ServiceKind::Headless, ports, ..spec("shop/many", &[]) };
    let change = ServiceChange {
        name: spec.name.clone(),
        entry: Some(entry(spec, &EndpointSet::default())),
        endpoints: Some(EndpointSet::new(pods).as_replacement()),
    };
    let (table, _) = Table::default().apply(Update { removed: Vec::new(), changed: vec![change] });
    let answer = Zone::new("cluster.local").resolve(&table, "_http._tcp.many.shop.svc.cluster.local", RecordType::Srv);
    let Answer::Records(records) = answer else { panic!("{answer:?}") };
    assert_eq!((records.answers.len(), records.additional.len()), (300, 300));
    assert!(records.answers.iter().all(|record| matches!(record.data, Data::Service { weight: 1, .. })));
    assert_eq!(records.additional[0].data, Data::Address(ip("10.1.0.1")));
}

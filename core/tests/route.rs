//! Where connections and requests go, by the rows of docs/services.md.

mod support;

use support::{endpoint, entry, name, socket, spec, tcp_port};
use wasmesh_core::{
    endpoint::EndpointSet,
    route::{Refusal, Route, route_address, route_name},
    service::{Family, ServiceKind, ServicePort, ServiceSpec, Transport},
    table::{ServiceChange, Table, Update},
};

const OWN: [&str; 3] = ["127.0.0.1:19001", "[::1]:19001", "0.0.0.0:19002"];

fn table(services: impl IntoIterator<Item = (ServiceSpec, EndpointSet)>) -> Table {
    let changed = services.into_iter().map(|(spec, endpoints)| ServiceChange {
        name: spec.name.clone(),
        entry: Some(entry(spec, &endpoints)),
        endpoints: None,
    });
    let (table, rejected) = Table::default().apply(Update { removed: Vec::new(), changed: changed.collect() });
    assert_eq!(rejected, []);
    table
}

/// One Service, `shop/web` at 10.96.0.1 and fd00::1, with these ports and endpoints.
fn web(ports: Vec<ServicePort>, endpoints: &[&str]) -> Table {
    let spec = ServiceSpec { ports, ..spec("shop/web", &["10.96.0.1", "fd00::1"]) };
    table([(spec, EndpointSet::new(endpoints.iter().map(|address| endpoint(address))))])
}

fn named_port(name: &str, port: u16, transport: Transport) -> ServicePort {
    ServicePort { name: name.to_owned(), transport, ..tcp_port(port) }
}

/// A decision in one line: `mesh SERVICE PORT-INDEX FAMILY`, `passthrough`, …
fn text(route: Route) -> String {
    match route {
        Route::Mesh(mesh) => format!("mesh {} {} {}", mesh.entry.spec.name, mesh.port, mesh.family),
        Route::Passthrough => "passthrough".to_owned(),
        Route::Refuse(Refusal::NoEndpoints) => "refuse".to_owned(),
        Route::Refuse(Refusal::Loop) => "loop".to_owned(),
        Route::Alias(target) => format!("alias {target}"),
    }
}

#[track_caller]
fn check_address(table: &Table, destination: &str, expected: &str) {
    let own = OWN.map(socket);
    assert_eq!(text(route_address(table, socket(destination), &own)), expected, "{destination}");
}

#[track_caller]
fn check_name(table: &Table, host: &str, port: u16, expected: &str) {
    assert_eq!(text(route_name(table, host, port, "shop", "cluster.local")), expected, "{host}:{port}");
}

#[test]
fn row_1_the_key_is_address_and_port() {
    let mut second = named_port("admin", 81, Transport::Tcp);
    second.name = String::new();
    let web = web(vec![tcp_port(80), second], &["10.0.0.1:8080", "[fd01::1]:8080"]);
    check_address(&web, "10.96.0.1:80", "mesh shop/web 0 IPv4");
    check_address(&web, "10.96.0.1:81", "mesh shop/web 1 IPv4");
    check_address(&web, "[fd00::1]:80", "mesh shop/web 0 IPv6");
}

#[test]
fn row_1_two_services_may_use_one_port_number() {
    let behind = |address| EndpointSet::new([endpoint(address)]);
    let both = table([
        (spec("shop/web", &["10.96.0.1"]), behind("10.0.0.1:80")),
        (spec("shop/db", &["10.96.0.2"]), behind("10.0.0.2:80")),
    ]);
    check_address(&both, "10.96.0.1:80", "mesh shop/web 0 IPv4");
    check_address(&both, "10.96.0.2:80", "mesh shop/db 0 IPv4");
}

#[test]
fn row_5_one_port_number_for_tcp_and_udp_means_the_tcp_one() {
    let ports = vec![named_port("dns", 53, Transport::Udp), named_port("dns-tcp", 53, Transport::Tcp)];
    let spec = ServiceSpec { ports, ..spec("kube-system/dns", &["10.96.0.10"]) };
    let behind_tcp = wasmesh_core::endpoint::Endpoint { port: "dns-tcp".to_owned(), ..endpoint("10.0.0.1:53") };
    let dns = table([(spec, EndpointSet::new([behind_tcp]))]);
    check_address(&dns, "10.96.0.10:53", "mesh kube-system/dns 1 IPv4");
}

#[test]
fn row_4_a_udp_port_is_none_of_ours() {
    let web = web(vec![named_port("", 53, Transport::Udp)], &["10.0.0.1:53"]);
    check_address(&web, "10.96.0.1:53", "passthrough");
}

#[test]
fn row_7_a_port_that_the_service_does_not_have_is_passed_through() {
    let web = web(vec![tcp_port(80)], &["10.0.0.1:80"]);
    check_address(&web, "10.96.0.1:9999", "passthrough");
    check_name(&web, "web", 9999, "passthrough");
}

#[test]
fn row_8_a_service_without_endpoints_is_refused() {
    let web = web(vec![tcp_port(80)], &[]);
    check_address(&web, "10.96.0.1:80", "refuse");
    check_address(&web, "[fd00::1]:80", "refuse");
    check_name(&web, "web.shop", 80, "refuse");
}

#[test]
fn row_10_a_pod_address_is_never_rebalanced() {
    let headless = ServiceSpec { kind: ServiceKind::Headless, ..spec("shop/db", &[]) };
    let both = table([
        (headless, EndpointSet::new([endpoint("10.0.0.1:80")])),
        (spec("shop/web", &["10.96.0.1"]), EndpointSet::new([endpoint("10.0.0.2:80")])),
    ]);
    check_address(&both, "10.0.0.1:80", "passthrough");
    check_address(&both, "10.0.0.2:80", "passthrough");
}

#[test]
fn row_10_a_headless_service_asked_for_by_name_is_balanced() {
    let headless = ServiceSpec { kind: ServiceKind::Headless, ..spec("shop/db", &[]) };
    let db = table([(headless, EndpointSet::new([endpoint("[fd01::1]:80")]))]);
    check_name(&db, "db.shop.svc", 80, "mesh shop/db 0 IPv6");
}

#[test]
fn rows_14_and_15_other_addresses_are_passed_through() {
    let web = web(vec![tcp_port(80)], &["10.0.0.1:80"]);
    for destination in ["192.0.2.7:30080", "198.51.100.1:80", "[2001:db8::1]:443", "127.0.0.1:80"] {
        check_address(&web, destination, "passthrough");
    }
    check_address(&Table::default(), "10.96.0.1:80", "passthrough");
}

#[test]
fn row_16_an_external_name_is_an_alias_on_every_port() {
    let kind = ServiceKind::ExternalName { target: "db.example.com".to_owned() };
    let alias = table([(ServiceSpec { kind, ports: Vec::new(), ..spec("shop/db", &[]) }, EndpointSet::default())]);
    check_name(&alias, "db", 5432, "alias db.example.com");
    check_name(&alias, "db.shop.svc.cluster.local", 80, "alias db.example.com");
}

#[test]
fn row_16_an_external_name_becomes_a_cluster_ip_and_back() {
    let cluster_ip = table([(spec("shop/db", &["10.96.0.1"]), EndpointSet::new([endpoint("10.0.0.1:80")]))]);
    let kind = ServiceKind::ExternalName { target: "db.example.com".to_owned() };
    let alias = ServiceSpec { kind, ..spec("shop/db", &[]) };
    let flip = |table: &Table, spec: ServiceSpec| {
        let entry = entry(spec, &EndpointSet::new([endpoint("10.0.0.1:80")]));
        let change = ServiceChange { name: name("shop/db"), entry: Some(entry), endpoints: None };
        table.apply(Update { removed: Vec::new(), changed: vec![change] }).0
    };
    let external = flip(&cluster_ip, alias);
    check_address(&external, "10.96.0.1:80", "passthrough");
    check_name(&external, "db", 80, "alias db.example.com");
    let back = flip(&external, spec("shop/db", &["10.96.0.1"]));
    check_address(&back, "10.96.0.1:80", "mesh shop/db 0 IPv4");
    check_name(&back, "db", 80, "mesh shop/db 0 IPv4");
}

#[test]
fn row_19_a_family_without_endpoints_is_refused_by_address() {
    let web = web(vec![tcp_port(80)], &["10.0.0.1:80"]);
    check_address(&web, "10.96.0.1:80", "mesh shop/web 0 IPv4");
    check_address(&web, "[fd00::1]:80", "refuse");
}

#[test]
fn row_19_a_name_leads_to_the_primary_family_that_has_endpoints() {
    let dual = web(vec![tcp_port(80)], &["10.0.0.1:80", "[fd01::1]:80"]);
    check_name(&dual, "web", 80, "mesh shop/web 0 IPv4");
    let only_v6 = web(vec![tcp_port(80)], &["[fd01::1]:80"]);
    check_name(&only_v6, "web", 80, "mesh shop/web 0 IPv6");
    let v6_first = spec("shop/web", &["fd00::1", "10.96.0.1"]);
    let behind = EndpointSet::new(["10.0.0.1:80", "[fd01::1]:80"].map(endpoint));
    check_name(&table([(v6_first, behind)]), "web", 80, "mesh shop/web 0 IPv6");
    assert_eq!(Family::of(socket("[fd00::1]:80").ip()), Family::V6);
}

#[test]
fn row_33_every_form_of_a_name_is_routed() {
    let web = web(vec![tcp_port(80)], &["10.0.0.1:80"]);
    for host in
        ["web", "WEB", "web.", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "Web.Shop.Svc.Cluster.Local."]
    {
        check_name(&web, host, 80, "mesh shop/web 0 IPv4");
    }
}

#[test]
fn row_33_other_names_are_passed_through() {
    let web = web(vec![tcp_port(80)], &["10.0.0.1:80"]);
    for host in [
        "",
        ".",
        "web.other",
        "pod-0.web.shop.svc.cluster.local",
        "web.shop.cluster.local",
        "web.shop.svc.example.com",
        "example.com",
        "10.96.0.1",
        "::1",
        "[fd00::1]",
    ] {
        check_name(&web, host, 80, "passthrough");
    }
}

#[test]
fn a_connection_to_a_listener_of_the_proxy_is_refused_as_a_loop() {
    let web = web(vec![tcp_port(80)], &["10.0.0.1:80"]);
    for destination in ["127.0.0.1:19001", "[::1]:19001", "127.0.0.1:19002", "127.8.8.8:19002"] {
        check_address(&web, destination, "loop");
    }
    for destination in ["127.0.0.2:19001", "10.96.0.9:19001", "127.0.0.1:19003", "10.0.0.5:19002"] {
        check_address(&web, destination, "passthrough");
    }
}

//! Which endpoints a client may use, by the rows of docs/services.md.

mod support;

use proptest::prelude::*;
use support::{any_endpoints, any_name, any_spec, endpoint, spec};
use wasmesh_core::{
    candidates::{Viewpoint, candidates, reach},
    endpoint::{Conditions, Endpoint, EndpointSet, Hints},
    service::{Family, InternalTraffic, Service, ServiceSpec, Transport},
};

const READY: Conditions = Conditions { ready: true, serving: true, terminating: false };
const UNREADY: Conditions = Conditions { ready: false, serving: false, terminating: false };
const DRAINING: Conditions = Conditions { ready: false, serving: true, terminating: true };
const DYING: Conditions = Conditions { ready: false, serving: false, terminating: true };

fn here() -> Viewpoint {
    Viewpoint { node: "node-1".to_owned(), zone: "zone-a".to_owned() }
}

fn with(address: &str, conditions: Conditions) -> Endpoint {
    Endpoint { conditions, ..endpoint(address) }
}

fn on_node(address: &str, node: &str) -> Endpoint {
    Endpoint { node: node.to_owned(), ..endpoint(address) }
}

fn hinted(address: &str, nodes: &[&str], zones: &[&str]) -> Endpoint {
    let places = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Endpoint { hints: Hints { nodes: places(nodes), zones: places(zones) }, ..endpoint(address) }
}

fn local() -> ServiceSpec {
    ServiceSpec { internal_traffic: InternalTraffic::Local, ..spec("shop/web", &["10.96.0.1"]) }
}

/// Checks which of the endpoints a client may use, and that reachability says the same.
#[track_caller]
fn check_from(viewpoint: &Viewpoint, spec: &ServiceSpec, family: Family, endpoints: &[Endpoint], expected: &[&str]) {
    let set = EndpointSet::new(endpoints.iter().cloned());
    let mut found: Vec<_> =
        candidates(spec, 0, family, &set, viewpoint).iter().map(|endpoint| endpoint.address.to_string()).collect();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(reach(spec, &set, viewpoint).is_reachable(0, family), !expected.is_empty());
}

#[track_caller]
fn check(endpoints: &[Endpoint], expected: &[&str]) {
    check_from(&here(), &spec("shop/web", &["10.96.0.1"]), Family::V4, endpoints, expected);
}

const A: &str = "10.0.0.1:80";
const B: &str = "10.0.0.2:80";
const C: &str = "10.0.0.3:80";
const V6: &str = "[fd01::1]:80";

#[test]
fn row_19_families_are_independent() {
    let endpoints = [endpoint(A), endpoint(V6)];
    let spec = spec("shop/web", &["10.96.0.1", "fd00::1"]);
    check_from(&here(), &spec, Family::V4, &endpoints, &[A]);
    check_from(&here(), &spec, Family::V6, &endpoints, &[V6]);
}

#[test]
fn row_19_a_family_without_endpoints_is_unreachable_though_the_other_has_some() {
    let spec = spec("shop/web", &["10.96.0.1", "fd00::1"]);
    check_from(&here(), &spec, Family::V6, &[endpoint(A)], &[]);
    check_from(&here(), &spec, Family::V4, &[endpoint(V6)], &[]);
}

#[test]
fn row_19_an_unready_family_falls_back_by_itself() {
    let endpoints = [endpoint(A), with(V6, DRAINING)];
    check_from(&here(), &spec("shop/web", &["10.96.0.1", "fd00::1"]), Family::V6, &endpoints, &[V6]);
}

#[test]
fn row_21_local_traffic_stays_on_the_node() {
    let endpoints = [on_node(A, "node-1"), on_node(B, "node-2"), on_node(C, "node-1")];
    check_from(&here(), &local(), Family::V4, &endpoints, &[A, C]);
}

#[test]
fn row_21_no_endpoint_on_this_node_means_none_at_all() {
    check_from(&here(), &local(), Family::V4, &[on_node(B, "node-2")], &[]);
}

#[test]
fn row_21_an_unknown_node_has_no_local_endpoints() {
    let endpoints = [on_node(A, ""), on_node(B, "node-2")];
    check_from(&Viewpoint::default(), &local(), Family::V4, &endpoints, &[]);
}

#[test]
fn row_21_a_terminating_endpoint_here_is_preferred_to_a_ready_one_elsewhere() {
    let draining_here = Endpoint { conditions: DRAINING, ..on_node(A, "node-1") };
    check_from(&here(), &local(), Family::V4, &[draining_here, on_node(B, "node-2")], &[A]);
}

#[test]
fn row_21_local_traffic_reads_no_hints() {
    let hinted_elsewhere = Endpoint { node: "node-1".to_owned(), ..hinted(A, &["node-2"], &["zone-b"]) };
    let hinted_here = Endpoint { node: "node-1".to_owned(), ..hinted(B, &["node-1"], &["zone-a"]) };
    check_from(&here(), &local(), Family::V4, &[hinted_elsewhere, hinted_here], &[A, B]);
}

#[test]
fn row_23_zone_hints_keep_traffic_in_the_zone() {
    check(&[hinted(A, &[], &["zone-a"]), hinted(B, &[], &["zone-b"]), hinted(C, &[], &["zone-b", "zone-a"])], &[A, C]);
}

#[test]
fn row_23_node_hints_beat_zone_hints() {
    check(&[hinted(A, &["node-1"], &["zone-b"]), hinted(B, &["node-2"], &["zone-a"])], &[A]);
}

#[test]
fn row_23_without_a_node_hint_for_this_node_zone_hints_decide() {
    check(&[hinted(A, &["node-2"], &["zone-a"]), hinted(B, &["node-3"], &["zone-b"])], &[A]);
}

#[test]
fn row_23_one_missing_node_hint_leaves_it_to_zone_hints() {
    check(&[hinted(A, &["node-1"], &["zone-b"]), hinted(B, &[], &["zone-a"])], &[B]);
}

#[test]
fn row_23_one_missing_hint_means_all_endpoints() {
    check(&[hinted(A, &[], &["zone-a"]), hinted(B, &[], &["zone-b"]), endpoint(C)], &[A, B, C]);
}

#[test]
fn row_23_no_hint_for_this_zone_means_all_endpoints() {
    check(&[hinted(A, &[], &["zone-b"]), hinted(B, &[], &["zone-c"])], &[A, B]);
}

#[test]
fn row_23_an_unready_endpoint_without_a_hint_does_not_disable_hints() {
    check(&[hinted(A, &[], &["zone-a"]), hinted(B, &[], &["zone-b"]), with(C, UNREADY)], &[A]);
}

#[test]
fn row_23_a_client_in_no_zone_uses_all_endpoints() {
    let endpoints = [hinted(A, &[], &["zone-a"]), hinted(B, &[""], &[""])];
    check_from(&Viewpoint::default(), &spec("shop/web", &[]), Family::V4, &endpoints, &[A, B]);
}

#[test]
fn row_23_the_zone_of_an_endpoint_is_not_a_hint() {
    let in_zone = |address, zone: &str| Endpoint { zone: zone.to_owned(), ..endpoint(address) };
    check(&[in_zone(A, "zone-a"), in_zone(B, "zone-b")], &[A, B]);
}

#[test]
fn row_24_absent_conditions_mean_ready_serving_and_not_terminating() {
    assert_eq!(Conditions::default(), READY);
    check(&[endpoint(A), with(B, UNREADY)], &[A]);
}

#[test]
fn row_25_ready_endpoints_are_used_alone() {
    check(&[endpoint(A), with(B, DRAINING), with(C, UNREADY)], &[A]);
}

#[test]
fn row_25_without_a_ready_one_those_that_drain_and_still_serve_take_over() {
    check(&[with(A, DRAINING), with(B, DYING), with(C, UNREADY)], &[A]);
}

#[test]
fn row_25_serving_alone_is_not_enough() {
    check(&[with(A, Conditions { ready: false, serving: true, terminating: false })], &[]);
}

#[test]
fn row_25_draining_endpoints_are_used_whatever_their_hints() {
    let elsewhere = |address| Endpoint { conditions: DRAINING, ..hinted(address, &[], &["zone-b"]) };
    let in_zone = Endpoint { conditions: DRAINING, ..hinted(C, &[], &["zone-a"]) };
    check(&[elsewhere(A), elsewhere(B), in_zone], &[A, B, C]);
}

#[test]
fn row_2_endpoints_belong_to_a_port_by_its_name() {
    let mut spec = spec("shop/web", &["10.96.0.1"]);
    spec.ports[0].name = "http".to_owned();
    let named = |address, port: &str| Endpoint { port: port.to_owned(), ..endpoint(address) };
    let endpoints = [named("10.0.0.1:8080", "http"), named("10.0.0.2:9090", "http"), named("10.0.0.3:8080", "admin")];
    check_from(&here(), &spec, Family::V4, &endpoints, &["10.0.0.1:8080", "10.0.0.2:9090"]);
}

#[test]
fn row_4_ports_that_are_not_tcp_have_no_candidates() {
    for transport in [Transport::Udp, Transport::Sctp] {
        let mut spec = spec("shop/dns", &["10.96.0.1"]);
        spec.ports[0].transport = transport;
        check_from(&here(), &spec, Family::V4, &[endpoint(A)], &[]);
    }
}

#[test]
fn a_port_that_does_not_exist_has_no_candidates() {
    let endpoints = EndpointSet::new([endpoint(A)]);
    let spec = spec("shop/web", &["10.96.0.1"]);
    assert_eq!(candidates(&spec, 1, Family::V4, &endpoints, &here()), []);
    assert!(!reach(&spec, &endpoints, &here()).is_reachable(1, Family::V4));
}

proptest! {
    #[test]
    fn reachability_is_having_candidates(
        spec in any_name().prop_flat_map(any_spec),
        endpoints in any_endpoints(),
        (node, zone) in ("[ab]?", "[ab]?"),
    ) {
        let viewpoint = Viewpoint { node, zone };
        // What the control plane precomputes for everyone must be what each client would find by itself.
        let reach = Service::new(spec.clone(), endpoints.clone()).reach_from(&viewpoint);
        prop_assert_eq!(reach.ports().len(), spec.ports.len());
        for port in 0..spec.ports.len() {
            for family in [Family::V4, Family::V6] {
                let found = candidates(&spec, port, family, &endpoints, &viewpoint);
                prop_assert_eq!(reach.is_reachable(port, family), !found.is_empty());
                prop_assert!(found.iter().all(|endpoint| Family::of(endpoint.address.ip()) == family));
                prop_assert!(found.is_sorted_by_key(|endpoint| endpoint.id));
                let all_ready = found.iter().all(|endpoint| endpoint.conditions.ready);
                prop_assert!(all_ready || found.iter().all(|endpoint| !endpoint.conditions.ready));
            }
        }
    }
}

//! Where captured connections go.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
};

use wasmesh_tests::{EndpointManifest, Service, netns::Netns, netns::OUTBOUND_PORT};

use crate::inside::{Inside, backend, backend_at, url};

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 10, 10));
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0x10));

/// Somewhere that exists inside and is not the mesh's.
const ELSEWHERE: [&str; 2] = ["192.0.2.77", "2001:db8::77"];

fn elsewhere(netns: &Netns, port: u16) -> [SocketAddr; 2] {
    netns.add_address("192.0.2.77/32");
    netns.add_address("2001:db8::77/128");
    ELSEWHERE.map(|ip| SocketAddr::from((ip.parse::<IpAddr>().unwrap(), port)))
}

#[test]
fn a_client_that_knows_only_a_cluster_ip_reaches_every_backend() {
    let netns = Netns::default();
    let of_v4 = [backend(&netns), backend(&netns), backend(&netns)];
    let of_v6: [_; 2] = std::array::from_fn(|_| backend_at(&netns, "[::1]:0".parse().unwrap()));
    let web = Service::new("web").vip(V4).vip(V6).endpoints(&of_v4).endpoints(&of_v6);
    let mesh = Inside::of(netns, [web]);
    for (vip, backends) in [(V4, &of_v4[..]), (V6, &of_v6[..])] {
        let expected: BTreeSet<_> = backends.iter().map(wasmesh_tests::Backend::address).collect();
        // A plain client, one request to a connection and many to one.
        let mut kept = mesh.connect((vip, 80).into()).unwrap();
        let mut seen = BTreeSet::new();
        for _ in 0..30 {
            let mut once = mesh.connect((vip, 80).into()).unwrap();
            seen.insert(once.request("GET", "/", "").unwrap().backend());
            seen.insert(kept.request("GET", "/", "").unwrap().backend());
        }
        assert_eq!(seen, expected, "{vip}");

        let urls: Vec<_> = (0..30).map(|number| format!("{}{number}", url(vip))).collect();
        let output = mesh.curl(&urls.iter().map(String::as_str).collect::<Vec<_>>());
        let answers = String::from_utf8(output.stdout).unwrap();
        let seen: BTreeSet<SocketAddr> = answers.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(seen, expected, "{vip} by curl: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_proxy_has_its_own_user_and_no_capability() {
    let mesh = Inside::of(Netns::default(), []);
    let status = std::fs::read_to_string(format!("/proc/{}/status", mesh.proxy.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("Uid:"), ["19000"; 4]);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(field(set), ["0000000000000000"], "{set}");
    }
}

#[test]
fn the_host_field_does_not_decide() {
    let netns = Netns::default();
    let (web, other) = (backend(&netns), backend(&netns));
    let services = [Service::new("web").vip(V4).endpoint(&web), Service::new("other").endpoint(&other)];
    let mesh = Inside::of(netns, services);
    let mut client = mesh.connect((V4, 80).into()).unwrap();
    client.send("GET / HTTP/1.1\r\nHost: other.default.svc.cluster.local\r\n\r\n").unwrap();
    assert_eq!(client.response("GET").unwrap().backend(), web.address());
    assert_eq!(web.seen()[0].header("host"), Some("other.default.svc.cluster.local"));
}

#[test]
fn an_unknown_destination_is_passed_through() {
    let netns = Netns::default();
    let addresses = elsewhere(&netns, 8080);
    let backends = addresses.map(|address| backend_at(&netns, address));
    let mesh = Inside::of(netns, []);
    for (passed, (address, backend)) in addresses.into_iter().zip(&backends).enumerate() {
        let mut client = mesh.connect(address).unwrap();
        assert_eq!(client.request("GET", "/", "Connection: close\r\n").unwrap().backend(), backend.address());
        drop(client);
        mesh.until_metric("wasmesh_passthrough_connections_total", passed as f64 + 1.0);
    }
}

#[test]
fn row_7_a_port_that_the_service_lacks_is_passed_through() {
    let netns = Netns::default();
    let [v4, v6] = elsewhere(&netns, 8080);
    let (inside, inside6) = (backend(&netns), backend_at(&netns, "[::1]:0".parse().unwrap()));
    let outside = [v4, v6].map(|address| backend_at(&netns, address));
    let web = Service::new("web").vip(v4.ip()).vip(v6.ip()).endpoint(&inside).endpoint(&inside6);
    let mesh = Inside::of(netns, [web]);
    for ((address, outside), inside) in [v4, v6].into_iter().zip(&outside).zip([&inside, &inside6]) {
        let mut on_80 = mesh.connect((address.ip(), 80).into()).unwrap();
        assert_eq!(on_80.request("GET", "/", "").unwrap().backend(), inside.address());
        let mut on_8080 = mesh.connect(address).unwrap();
        assert_eq!(on_8080.request("GET", "/", "").unwrap().backend(), outside.address());
    }
}

#[test]
fn a_destination_that_refuses_is_a_reset() {
    let netns = Netns::default();
    let addresses = elsewhere(&netns, 8080);
    let mesh = Inside::of(netns, []);
    for address in addresses {
        // connect() has succeeded, at the proxy; what was refused there is told by a reset.
        let answer = mesh.connect(address).unwrap().request("GET", "/", "");
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset, "{address}");
    }
}

#[test]
fn without_endpoints_a_connection_is_reset() {
    let mesh = Inside::of(Netns::default(), [Service::new("web").vip(V4).vip(V6)]);
    for (refused, vip) in [V4, V6].into_iter().enumerate() {
        let mut client = mesh.connect((vip, 80).into()).unwrap();
        let answer = client.request("GET", "/", "");
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset, "{vip}");
        mesh.until_metric("wasmesh_connections_refused_total", refused as f64 + 1.0);
    }
}

#[test]
fn a_node_without_ipv6_is_captured_for_ipv4() {
    let netns = Netns::default();
    netns.disable_ipv6();
    let web = backend(&netns);
    let mesh = Inside::of(netns, [Service::new("web").vip(V4).endpoint(&web)]);
    let mut client = mesh.connect((V4, 80).into()).unwrap();
    assert_eq!(client.request("GET", "/", "").unwrap().backend(), web.address());
}

#[test]
fn a_connection_straight_to_the_listener_is_refused_as_a_loop() {
    let mesh = Inside::of(Netns::default(), []);
    for (refused, ip) in ["127.0.0.1", "::1"].into_iter().enumerate() {
        let address = SocketAddr::from((ip.parse::<IpAddr>().unwrap(), OUTBOUND_PORT));
        let answer = mesh.connect(address).and_then(|mut client| client.request("GET", "/", ""));
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset, "{address}");
        mesh.until_metric("wasmesh_connections_refused_total", refused as f64 + 1.0);
    }
}

#[test]
fn a_change_reaches_captured_clients_and_their_kept_connections() {
    let netns = Netns::default();
    let (before, after) = (backend(&netns), backend(&netns));
    let mesh = Inside::of(netns, [Service::new("web").vip(V4).endpoint(&before)]);
    let mut client = mesh.connect((V4, 80).into()).unwrap();
    assert_eq!(client.request("GET", "/", "").unwrap().backend(), before.address());
    mesh.apply([Service::new("web").vip(V4).endpoint(&after)]);
    assert_eq!(client.request("GET", "/", "").unwrap().backend(), after.address());
    mesh.apply([Service::new("web").vip(V4)]);
    let refused = client.request("GET", "/", "").unwrap();
    assert_eq!((refused.status, refused.wasmesh_error()), (503, Some("no-endpoints")));
}

#[test]
fn row_30_and_31_a_backend_sees_a_client_of_its_own_host_and_may_be_its_own_client() {
    let netns = Netns::default();
    let own = backend(&netns);
    let mesh = Inside::of(netns, [Service::new("web").vip(V4).endpoint(EndpointManifest::from(&own))]);
    // The client and the backend are one host; the connection leaves by the mesh and comes back.
    let mut client = mesh.connect((V4, 80).into()).unwrap();
    assert_eq!(client.request("GET", "/", "").unwrap().backend(), own.address());
}

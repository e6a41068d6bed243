//! Captured connections that speak something else than HTTP.

use std::net::IpAddr;

use wasmesh_tests::{EndpointManifest, Service, netns::Netns};

use crate::inside::{Inside, backend, scripted};

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 20, 20));

/// A Service with a port 81 on which nothing is declared.
fn undeclared(endpoint: EndpointManifest) -> Service {
    Service::new("db").vip(VIP).port("any", 81).endpoint(endpoint.port("any"))
}

#[test]
fn a_server_that_speaks_first_is_heard() {
    let netns = Netns::default();
    let server = scripted(&netns, |mut connection| {
        let _ = connection.send("220 hello\r\n");
        let said = connection.line().unwrap_or_default();
        let _ = connection.send(format!("you said {said}\r\n"));
    });
    let mesh = Inside::of(netns, [undeclared((&server).into())]);
    let mut client = mesh.connect((VIP, 81).into()).unwrap();
    assert_eq!(client.line().unwrap(), "220 hello");
    client.send("EHLO me\r\n").unwrap();
    assert_eq!(client.line().unwrap(), "you said EHLO me");
}

#[test]
fn bytes_pass_both_ways_and_each_side_may_end_first() {
    let netns = Netns::default();
    let server = scripted(&netns, |mut connection| {
        let said = connection.read_to_end().unwrap_or_default();
        let _ = connection.send(said.iter().rev().copied().collect::<Vec<_>>());
    });
    let mesh = Inside::of(netns, [undeclared((&server).into())]);
    let mut client = mesh.connect((VIP, 81).into()).unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let (mut writer, sent) = (client.writer().unwrap(), bytes.clone());
    let writing = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, &sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = client.read_to_end().unwrap();
    writing.join().unwrap();
    back.reverse();
    assert!(back == bytes);
}

#[test]
fn http_on_a_port_that_declares_nothing_is_balanced_by_request() {
    let netns = Netns::default();
    let (a, b) = (backend(&netns), backend(&netns));
    let service = undeclared((&a).into()).endpoint(EndpointManifest::from(&b).port("any")).policy("round-robin");
    let mesh = Inside::of(netns, [service]);
    let mut client = mesh.connect((VIP, 81).into()).unwrap();
    let answers: std::collections::BTreeSet<_> =
        (0..4).map(|_| client.request("GET", "/", "").unwrap().backend()).collect();
    assert_eq!(answers, [a.address(), b.address()].into());
}

#[test]
fn an_endpoint_that_refuses_costs_no_connection() {
    let netns = Netns::default();
    let server = scripted(&netns, |mut connection| {
        let _ = connection.send("here\n");
    });
    let dead = EndpointManifest::from(wasmesh_tests::dead_address()).port("any");
    let mesh = Inside::of(netns, [undeclared((&server).into()).endpoint(dead)]);
    for _ in 0..20 {
        assert_eq!(mesh.connect((VIP, 81).into()).unwrap().line().unwrap(), "here");
    }
}

#[test]
fn a_connection_that_is_open_survives_a_drain() {
    let netns = Netns::default();
    let server = scripted(&netns, |mut connection| {
        while let Ok(line) = connection.line() {
            let _ = connection.send(format!("{line}\n"));
        }
    });
    let mut mesh = Inside::of(netns, [undeclared((&server).into())]);
    let mut client = mesh.connect((VIP, 81).into()).unwrap();
    client.send("before\n").unwrap();
    assert_eq!(client.line().unwrap(), "before");
    mesh.proxy.terminate();
    for _ in 0..10 {
        client.send("during\n").unwrap();
        assert_eq!(client.line().unwrap(), "during");
    }
    assert!(mesh.proxy.is_running());
    client.finish().unwrap();
    assert!(client.read_to_end().unwrap().is_empty());
    assert!(mesh.proxy.wait().success());
}

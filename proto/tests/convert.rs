//! Core values survive the wire, and the wire survives anything.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use proptest::{collection::vec, option, prelude::*};
use prost::Message;
use wasmesh_core::{
    candidates::{PortReach, Reach},
    directory::Entry,
    endpoint::{Conditions, Endpoint, EndpointId, EndpointsDelta, Hints},
    policy::{Allowed, BuiltinPolicy, ModuleDigest, OnFailure, PortPolicy, Trial, TrialMode, WasmPolicy, WasmProgram},
    service::{Affinity, AppProtocol, InternalTraffic, ServiceKind, ServicePort, ServiceSpec, Transport},
    table::ServiceChange,
    version::{Version, Versioned},
};
use wasmesh_proto::{
    convert::{Item, Malformed, address_from_wire, address_to_wire, encode_body, item_from_wire},
    wire,
};

fn any_text() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9é-]{0,12}"
}

fn any_port() -> impl Strategy<Value = (ServicePort, PortReach)> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp), Just(Transport::Sctp)];
    let protocol = prop_oneof![
        Just(AppProtocol::Detect),
        Just(AppProtocol::Http1),
        Just(AppProtocol::Http2),
        Just(AppProtocol::Grpc),
        Just(AppProtocol::Tls),
        Just(AppProtocol::Tcp),
    ];
    (any_text(), 1..=u16::MAX, transport, protocol, any_policy(), any::<(bool, bool)>()).prop_map(
        |(name, port, transport, protocol, policy, (v4, v6))| {
            (ServicePort { name, port, transport, protocol, policy }, PortReach { v4, v6 })
        },
    )
}

fn any_builtin() -> impl Strategy<Value = BuiltinPolicy> {
    proptest::sample::select(BuiltinPolicy::ALL.to_vec())
}

fn any_program() -> impl Strategy<Value = WasmProgram> {
    (any::<[u8; 32]>(), any_text(), 1..=u64::MAX, 1..=u32::MAX).prop_map(|(module, config, fuel, memory_mib)| {
        WasmProgram { module: ModuleDigest(module), config, fuel, memory_mib }
    })
}

fn any_trial() -> impl Strategy<Value = Trial> {
    let mode = prop_oneof![Just(TrialMode::Shadow), Just(TrialMode::Serve)];
    (any_program(), mode, 0..=100u8, option::of(any::<u32>()))
        .prop_map(|(program, mode, percent, abort_on_faults)| Trial { program, mode, percent, abort_on_faults })
}

fn any_wasm() -> impl Strategy<Value = WasmPolicy> {
    let on_failure = prop_oneof![Just(OnFailure::Fallback), Just(OnFailure::Refuse)];
    let allow = any::<[bool; 4]>().prop_map(|[body, reject, hold, sensitive_headers]| Allowed {
        body,
        reject,
        hold,
        sensitive_headers,
    });
    (any_text(), any_program(), any_builtin(), on_failure, allow, option::of(any_trial())).prop_map(
        |(name, program, fallback, on_failure, allow, trial)| WasmPolicy {
            name,
            program,
            fallback,
            on_failure,
            allow,
            trial,
        },
    )
}

fn any_policy() -> impl Strategy<Value = PortPolicy> {
    prop_oneof![any_builtin().prop_map(PortPolicy::from), any_wasm().prop_map(|policy| PortPolicy::Wasm(policy.into()))]
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        vec(any::<IpAddr>(), 0..3).prop_map(|vips| ServiceKind::ClusterIp { vips }),
        Just(ServiceKind::Headless),
        any_text().prop_map(|target| ServiceKind::ExternalName { target }),
    ];
    let affinity = prop_oneof![
        Just(Affinity::None),
        (1..=u32::MAX).prop_map(|timeout_seconds| Affinity::ClientIp { timeout_seconds }),
    ];
    (kind, vec(any_port(), 0..4), affinity, any::<bool>()).prop_map(|(kind, ports, affinity, local)| {
        let (ports, reach) = ports.into_iter().unzip();
        let spec = ServiceSpec {
            name: "shop/web".parse().unwrap(),
            kind,
            ports,
            affinity,
            internal_traffic: if local { InternalTraffic::Local } else { InternalTraffic::Cluster },
        };
        Entry { spec: Arc::new(spec), reach: Reach::new(reach) }
    })
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let place = (any_text(), any_text(), any_text(), any_text());
    let share = (1..=u32::MAX, any::<u32>());
    let labels = proptest::collection::btree_map(any_text(), any_text(), 0..3);
    let hints = (vec(any_text(), 0..3), vec(any_text(), 0..3));
    (any::<u64>(), any::<SocketAddr>(), place, share, labels, any::<[bool; 3]>(), hints).prop_map(
        |(id, address, (port, zone, node, hostname), (weight, priority), labels, conditions, (zones, nodes))| {
            let [ready, serving, terminating] = conditions;
            Endpoint {
                id: EndpointId(id),
                port,
                // Flow and scope are no part of an endpoint.
                address: SocketAddr::new(address.ip(), address.port()),
                weight,
                priority,
                zone,
                node,
                hostname,
                labels: labels.into_iter().collect::<BTreeMap<_, _>>(),
                conditions: Conditions { ready, serving, terminating },
                hints: Hints { zones, nodes },
            }
        },
    )
}

fn any_change() -> impl Strategy<Value = ServiceChange> {
    let endpoints = (option::of(any::<u64>()), any::<u64>(), vec(any_endpoint(), 0..4), vec(any::<u64>(), 0..4));
    let endpoints = endpoints.prop_map(|(base, version, upserts, removed)| EndpointsDelta {
        base: base.map(Version),
        version: Version(version),
        upserts: upserts.into_iter().map(Versioned::new).collect(),
        removed: removed.into_iter().map(EndpointId).collect(),
    });
    (option::of(any_entry()), option::of(endpoints)).prop_map(|(entry, endpoints)| ServiceChange {
        name: "shop/web".parse().unwrap(),
        entry: entry.map(Versioned::new),
        endpoints,
    })
}

fn item_of(change: &ServiceChange) -> wire::Item {
    wire::Item {
        name: change.name.to_string(),
        entry_version: change.entry.as_ref().map_or(0, |entry| entry.version.0),
        endpoints_version: change.endpoints.as_ref().map(|delta| delta.version.0),
        body: encode_body(change),
    }
}

/// The change that an item with two good parts is, or what is wrong.
fn change_of(item: Result<Item, Malformed>) -> Result<ServiceChange, Malformed> {
    let Item { name, entry, endpoints } = item?;
    Ok(ServiceChange { name, entry: entry.transpose()?, endpoints: endpoints.transpose()? })
}

proptest! {
    #[test]
    fn a_change_survives_the_wire(change in any_change()) {
        prop_assert_eq!(change_of(item_from_wire(&item_of(&change))), Ok(change));
    }

    #[test]
    fn equal_changes_are_equal_bytes(change in any_change()) {
        prop_assert_eq!(encode_body(&change), encode_body(&change.clone()));
    }

    #[test]
    fn any_bytes_are_an_answer_and_never_a_panic(
        name in ".{0,12}",
        body in vec(any::<u8>(), 0..200),
        versions in any::<(u64, Option<u64>)>(),
    ) {
        let item = wire::Item { name, entry_version: versions.0, endpoints_version: versions.1, body: body.clone().into() };
        let _ = item_from_wire(&item);
        let _ = wire::ToProxy::decode(&*body);
        let _ = wire::FromProxy::decode(&*body);
    }

    #[test]
    fn a_torn_item_is_an_answer_and_never_a_panic(change in any_change(), cut in any::<usize>(), flip in any::<(usize, u8)>()) {
        let mut item = item_of(&change);
        let mut body = item.body.to_vec();
        if !body.is_empty() {
            let at = flip.0 % body.len();
            body[at] ^= flip.1;
            body.truncate(cut % (body.len() + 1));
        }
        item.body = body.into();
        let _ = item_from_wire(&item);
    }
}

/// An item whose only port has this policy.
fn governed_by(policy: wire::PolicyRef) -> wire::Item {
    let port = wire::Port { port: 80, policy: Some(policy), ..Default::default() };
    let entry = wire::Entry { ports: vec![port], ..Default::default() };
    let body = wire::ItemBody { entry: Some(entry), endpoints: None };
    wire::Item { name: "shop/web".to_owned(), body: body.encode_to_vec().into(), ..Default::default() }
}

/// A policy with a module and a trial that has been spoiled.
fn spoiled_policy(spoil: impl FnOnce(&mut wire::WasmPolicy, &mut wire::WasmProgram, &mut wire::Trial)) -> wire::Item {
    let mut program = wire::WasmProgram { module: vec![7; 32], config: "{}".to_owned(), fuel: 1, memory_mib: 1 };
    let mut trial = wire::Trial { program: Some(program.clone()), percent: 100, ..Default::default() };
    let mut policy = wire::WasmPolicy { name: "own".to_owned(), ..Default::default() };
    spoil(&mut policy, &mut program, &mut trial);
    policy.program.get_or_insert(program);
    policy.trial.get_or_insert(trial);
    governed_by(wire::PolicyRef { builtin: "ring-hash".to_owned(), wasm: Some(policy) })
}

/// An item whose endpoint has been spoiled.
fn spoiled(spoil: impl FnOnce(&mut wire::Endpoint)) -> wire::Item {
    let mut endpoint =
        wire::Endpoint { id: 1, ip: vec![127, 0, 0, 1], port_number: 80, weight: 1, ..Default::default() };
    spoil(&mut endpoint);
    let delta = wire::EndpointsDelta { base: None, version: 7, upserts: vec![endpoint], removed: Vec::new() };
    let body = wire::ItemBody { entry: None, endpoints: Some(delta) };
    wire::Item {
        name: "shop/web".to_owned(),
        entry_version: 0,
        endpoints_version: Some(7),
        body: body.encode_to_vec().into(),
    }
}

#[test]
fn a_bad_field_is_named() {
    let check = |item: wire::Item, expected: &str| match change_of(item_from_wire(&item)) {
        Err(error) => assert!(error.to_string().contains(expected), "{error}"),
        Ok(_) => panic!("accepted: {expected}"),
    };
    assert!(change_of(item_from_wire(&spoiled(|_| ()))).is_ok());
    check(spoiled(|endpoint| endpoint.ip = vec![1; 5]), "an address is 5 bytes long: 4 or 16 expected");
    check(spoiled(|endpoint| endpoint.port_number = 65_536), "a port number is 65536: 1 to 65535 expected");
    check(spoiled(|endpoint| endpoint.weight = 0), "an endpoint's weight is 0: at least 1 expected");
    check(wire::Item { name: "web".to_owned(), ..spoiled(|_| ()) }, "\"web\" is not a Service name");
    check(wire::Item { endpoints_version: Some(8), ..spoiled(|_| ()) }, "another version than the item names");
    check(wire::Item { body: vec![0xff; 3].into(), ..spoiled(|_| ()) }, "undecodable");

    assert!(change_of(item_from_wire(&spoiled_policy(|_, _, _| ()))).is_ok());
    let digest = "a module's digest is 31 bytes long: 32 expected";
    check(spoiled_policy(|_, program, _| program.module = vec![7; 31]), digest);
    check(spoiled_policy(|_, program, _| program.fuel = 0), "without fuel or memory");
    check(spoiled_policy(|_, program, _| program.memory_mib = 0), "without fuel or memory");
    check(spoiled_policy(|_, _, trial| trial.percent = 101), "the percentage of a trial is 101: 0 to 100 expected");
    check(spoiled_policy(|_, _, trial| trial.program = None), "a policy without a program");
    let bare = wire::WasmPolicy { name: "own".to_owned(), ..Default::default() };
    let bare = wire::PolicyRef { builtin: "random".to_owned(), wasm: Some(bare) };
    check(governed_by(bare), "a policy without a program");
}

#[test]
fn a_part_of_an_item_is_bad_alone() {
    let mut item = spoiled(|endpoint| endpoint.weight = 0);
    let mut body = wire::ItemBody::decode(item.body.clone()).unwrap();
    body.entry = Some(wire::Entry::default());
    item.body = body.encode_to_vec().into();
    let decoded = item_from_wire(&item).unwrap();
    assert!(matches!((decoded.entry, decoded.endpoints), (Some(Ok(_)), Some(Err(_)))));
    body.entry = Some(wire::Entry { vips: vec![vec![1; 5]], ..Default::default() });
    body.endpoints = Some(wire::EndpointsDelta { version: 7, ..Default::default() });
    item.body = body.encode_to_vec().into();
    let decoded = item_from_wire(&item).unwrap();
    assert!(matches!((decoded.entry, decoded.endpoints), (Some(Err(_)), Some(Ok(_)))));
}

#[test]
fn what_a_newer_control_plane_may_say_is_taken_safely() {
    let port = wire::Port {
        port: 80,
        transport: 9,
        protocol: 99,
        policy: Some(wire::PolicyRef { builtin: "quantum".to_owned(), wasm: None }),
        ..Default::default()
    };
    let entry = wire::Entry { ports: vec![port], ..Default::default() };
    let body = wire::ItemBody { entry: Some(entry), endpoints: None };
    let item = wire::Item { name: "shop/web".to_owned(), body: body.encode_to_vec().into(), ..Default::default() };
    let port = change_of(item_from_wire(&item)).unwrap().entry.unwrap().value.spec.ports[0].clone();
    assert_eq!(port.protocol, AppProtocol::Tcp, "opaque bytes are right for every protocol");
    assert_eq!(port.transport, Transport::Udp, "a transport that is not known is not carried");
    assert_eq!(port.policy, BuiltinPolicy::default().into());
}

#[test]
fn a_trial_of_a_mode_that_is_not_known_is_not_acted_on() {
    let change = change_of(item_from_wire(&spoiled_policy(|_, _, trial| trial.mode = 9))).unwrap();
    let policy = change.entry.unwrap().value.spec.ports[0].policy.clone();
    assert_eq!(policy.builtin(), BuiltinPolicy::RingHash);
    assert_eq!(policy.wasm().unwrap().trial.as_ref().unwrap().mode, TrialMode::Shadow);
}

#[test]
fn addresses_come_back_as_they_went() {
    for text in ["10.0.0.1:80", "[fd00::1]:65535", "0.0.0.0:0"] {
        let address: SocketAddr = text.parse().unwrap();
        assert_eq!(address_from_wire(&address_to_wire(address)), Ok(address));
    }
    let wrong = |ip: &[u8], port| address_from_wire(&wire::SocketAddress { ip: ip.to_vec(), port });
    assert!(wrong(&[1, 2, 3], 80).is_err() && wrong(&[10, 0, 0, 1], 65_536).is_err());
}

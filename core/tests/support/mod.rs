//! Builders and strategies that the tests of this crate share.
//!
//! Strategies draw from a small world of names, addresses and values, so that collisions, which are where the bugs
//! are, happen all the time.
#![allow(dead_code, reason = "every test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use proptest::{collection, prelude::*, sample};
use wasmesh_core::{
    candidates::{Viewpoint, reach},
    directory::Entry,
    endpoint::{Conditions, Endpoint, EndpointId, EndpointSet, Hints},
    load::EndpointLoad,
    name::ServiceName,
    policy::{
        Allowed, BuiltinPolicy, Candidate, ModuleDigest, OnFailure, PortPolicy, Trial, TrialMode, WasmPolicy,
        WasmProgram,
    },
    service::{Affinity, AppProtocol, InternalTraffic, ServiceKind, ServicePort, ServiceSpec, Transport},
    version::{Version, Versioned},
};

pub(crate) const VIPS: [&str; 6] = ["10.96.0.1", "10.96.0.2", "10.96.0.3", "10.96.0.4", "fd00::1", "fd00::2"];
const NAMES: [&str; 6] = ["shop/web", "shop/db", "shop/cart", "default/web", "default/api", "kube-system/dns"];

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

pub(crate) fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A ready endpoint of the unnamed port, whose id follows from its address.
pub(crate) fn endpoint(address: &str) -> Endpoint {
    Endpoint {
        id: EndpointId(Version::of(&name(&format!("id/{address}"))).0),
        port: String::new(),
        address: socket(address),
        weight: 1,
        priority: 0,
        zone: String::new(),
        node: String::new(),
        hostname: String::new(),
        labels: BTreeMap::new(),
        conditions: Conditions::default(),
        hints: Hints::default(),
    }
}

pub(crate) fn tcp_port(port: u16) -> ServicePort {
    ServicePort {
        name: String::new(),
        port,
        transport: Transport::Tcp,
        protocol: AppProtocol::Detect,
        policy: PortPolicy::default(),
    }
}

/// A Service with one unnamed TCP port 80.
pub(crate) fn spec(service: &str, vips: &[&str]) -> ServiceSpec {
    ServiceSpec {
        name: name(service),
        kind: ServiceKind::ClusterIp { vips: vips.iter().map(|vip| ip(vip)).collect() },
        ports: vec![tcp_port(80)],
        affinity: Affinity::None,
        internal_traffic: InternalTraffic::Cluster,
    }
}

/// The directory entry of a Service with these endpoints, for a client whose place is unknown.
pub(crate) fn entry(spec: ServiceSpec, endpoints: &EndpointSet) -> Versioned<Entry> {
    let reach = reach(&spec, endpoints, &Viewpoint::default());
    Versioned::new(Entry { spec: Arc::new(spec), reach })
}

/// A candidate at 10.0.x.y:8080, where x and y follow from its number.
pub(crate) fn candidate(number: u16, weight: u32, priority: u32) -> Candidate {
    let [high, low] = number.to_be_bytes();
    let endpoint = Endpoint { weight, priority, ..endpoint(&format!("10.0.{high}.{low}:8080")) };
    Candidate { endpoint: Arc::new(endpoint), load: Arc::new(EndpointLoad::default()) }
}

/// Candidates 0, 1, … with these weights.
pub(crate) fn candidates(weights: &[u32]) -> Arc<[Candidate]> {
    weights.iter().zip(0..).map(|(weight, number)| candidate(number, *weight, 0)).collect()
}

pub(crate) fn any_name() -> impl Strategy<Value = ServiceName> {
    sample::select(&NAMES[..]).prop_map(name)
}

pub(crate) fn any_policy() -> impl Strategy<Value = BuiltinPolicy> {
    sample::select(&BuiltinPolicy::ALL[..])
}

fn any_text() -> impl Strategy<Value = String> {
    sample::select(&["", "a", "b", "ab"][..]).prop_map(str::to_owned)
}

fn any_vips() -> impl Strategy<Value = Vec<IpAddr>> {
    sample::subsequence(&VIPS[..], 0..=2).prop_map(|vips| vips.into_iter().map(ip).collect())
}

pub(crate) fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let address = sample::select(&["10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80", "[fd01::1]:80"][..]);
    let conditions = any::<(bool, bool, bool)>().prop_map(|(ready, serving, terminating)| Conditions {
        ready,
        serving,
        terminating,
    });
    let places = || collection::vec(any_text(), 0..3);
    let hints = (places(), places()).prop_map(|(zones, nodes)| Hints { zones, nodes });
    let labels = collection::btree_map(any_text(), any_text(), 0..3);
    let identity = (0_u64..6, any_text(), address.prop_map(socket));
    let texts = (any_text(), any_text(), any_text());
    (identity, 0_u32..3, 0_u32..3, texts, labels, conditions, hints).prop_map(
        |((id, port, address), weight, priority, (zone, node, hostname), labels, conditions, hints)| Endpoint {
            id: EndpointId(id),
            port,
            address,
            weight,
            priority,
            zone,
            node,
            hostname,
            labels,
            conditions,
            hints,
        },
    )
}

pub(crate) fn any_endpoints() -> impl Strategy<Value = EndpointSet> {
    prop_oneof![
        1 => Just(EndpointSet::default()),
        4 => collection::vec(any_endpoint(), 0..6).prop_map(EndpointSet::new),
    ]
}

fn any_program() -> impl Strategy<Value = WasmProgram> {
    (any::<[u8; 32]>(), any_text(), 1_u64..3, 1_u32..3).prop_map(|(module, config, fuel, memory_mib)| WasmProgram {
        module: ModuleDigest(module),
        config,
        fuel,
        memory_mib,
    })
}

fn any_trial() -> impl Strategy<Value = Trial> {
    let mode = sample::select(&[TrialMode::Shadow, TrialMode::Serve][..]);
    (any_program(), mode, 0_u8..=100, proptest::option::of(0_u32..3))
        .prop_map(|(program, mode, percent, abort_on_faults)| Trial { program, mode, percent, abort_on_faults })
}

fn any_port_policy() -> impl Strategy<Value = PortPolicy> {
    let on_failure = sample::select(&[OnFailure::Fallback, OnFailure::Refuse][..]);
    let allow = any::<[bool; 4]>().prop_map(|[body, reject, hold, sensitive_headers]| Allowed {
        body,
        reject,
        hold,
        sensitive_headers,
    });
    let wasm = (any_text(), any_program(), any_policy(), on_failure, allow, proptest::option::of(any_trial()))
        .prop_map(|(name, program, fallback, on_failure, allow, trial)| {
            PortPolicy::Wasm(Arc::new(WasmPolicy { name, program, fallback, on_failure, allow, trial }))
        });
    prop_oneof![any_policy().prop_map(PortPolicy::Builtin), wasm]
}

fn any_port() -> impl Strategy<Value = ServicePort> {
    let transport = sample::select(&[Transport::Tcp, Transport::Udp, Transport::Sctp][..]);
    let protocol = sample::select(
        &[
            AppProtocol::Detect,
            AppProtocol::Http1,
            AppProtocol::Http2,
            AppProtocol::Grpc,
            AppProtocol::Tls,
            AppProtocol::Tcp,
        ][..],
    );
    (any_text(), 80_u16..83, transport, protocol, any_port_policy())
        .prop_map(|(name, port, transport, protocol, policy)| ServicePort { name, port, transport, protocol, policy })
}

pub(crate) fn any_spec(name: ServiceName) -> impl Strategy<Value = ServiceSpec> {
    let kind = prop_oneof![
        6 => any_vips().prop_map(|vips| ServiceKind::ClusterIp { vips }),
        1 => Just(ServiceKind::Headless),
        1 => any_text().prop_map(|target| ServiceKind::ExternalName { target }),
    ];
    let affinity = prop_oneof![
        Just(Affinity::None),
        (1_u32..3).prop_map(|timeout_seconds| Affinity::ClientIp { timeout_seconds }),
    ];
    let internal_traffic = sample::select(&[InternalTraffic::Cluster, InternalTraffic::Local][..]);
    (kind, collection::vec(any_port(), 0..3), affinity, internal_traffic).prop_map(
        move |(kind, ports, affinity, internal_traffic)| ServiceSpec {
            name: name.clone(),
            kind,
            ports,
            affinity,
            internal_traffic,
        },
    )
}

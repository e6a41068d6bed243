//! Between core values and messages, both ways.
//!
//! Everything that comes off the wire is checked here; what passes is valid. Values that a newer peer may send and
//! that this version does not know are mapped to what is safe (an unknown protocol is opaque bytes, an unknown policy
//! is the default one) instead of being rejected.

mod policy;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use wasmesh_core::{
    candidates::{PortReach, Reach},
    checksum::HeldVersions,
    directory::Entry,
    endpoint::{Conditions, Endpoint, EndpointId, EndpointsDelta, Hints},
    name::{InvalidServiceName, ServiceName},
    service::{Affinity, AppProtocol, InternalTraffic, ServiceKind, ServicePort, ServiceSpec, Transport},
    table::ServiceChange,
    version::{Version, Versioned},
};

use crate::wire;

pub use policy::digest_from_wire;

/// Why a message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not a protobuf message of the expected type.
    #[error("undecodable: {0}")]
    Undecodable(String),
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] InvalidServiceName),
    /// A field with a value that it cannot have.
    #[error("{field} is {value}: {expected}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: &'static str,
    },
    /// A version without the content it is the version of, or the other way round.
    #[error("{0}")]
    Inconsistent(&'static str),
}

impl Malformed {
    pub(crate) fn field(field: &'static str, value: &impl ToString, expected: &'static str) -> Self {
        Self::Field { field, value: value.to_string(), expected }
    }
}

/// Encodes the content of an item. The same change always gives the same bytes.
pub fn encode_body(change: &ServiceChange) -> Bytes {
    let body = wire::ItemBody {
        entry: change.entry.as_ref().map(|entry| entry_to_wire(&entry.value)),
        endpoints: change.endpoints.as_ref().map(endpoints_to_wire),
    };
    body.encode_to_vec().into()
}

/// What an item says. Its two parts stand and fall alone: an entry is good beside endpoints that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The Service.
    pub name: ServiceName,
    /// Its directory entry, if the item carries one.
    pub entry: Option<Result<Versioned<Entry>, Malformed>>,
    /// The change of its endpoints, if the item carries one.
    pub endpoints: Option<Result<EndpointsDelta, Malformed>>,
}

/// Decodes one item.
///
/// # Errors
/// When nothing of it can be used: the name is none or the body cannot be decoded.
pub fn item_from_wire(item: &wire::Item) -> Result<Item, Malformed> {
    let name: ServiceName = item.name.parse()?;
    let body = wire::ItemBody::decode(item.body.clone()).map_err(|e| Malformed::Undecodable(e.to_string()))?;
    let versioned = |entry| Versioned { version: Version(item.entry_version), value: Arc::new(entry) };
    let entry = body.entry.map(|entry| entry_from_wire(&name, entry).map(versioned));
    let endpoints = body.endpoints.map(|delta| {
        let delta = endpoints_from_wire(delta)?;
        if item.endpoints_version != Some(delta.version.0) {
            return Err(Malformed::Inconsistent("the endpoints lead to another version than the item names"));
        }
        Ok(delta)
    });
    Ok(Item { name, entry, endpoints })
}

/// The versions named by a message.
pub fn held_versions(entry: u64, endpoints: Option<u64>) -> HeldVersions {
    HeldVersions { entry: Version(entry), endpoints: endpoints.map(Version) }
}

/// What is held of a Service.
pub fn held_to_wire(name: &ServiceName, held: &HeldVersions) -> wire::Held {
    wire::Held {
        name: name.to_string(),
        entry_version: held.entry.0,
        endpoints_version: held.endpoints.map(|version| version.0),
    }
}

fn entry_to_wire(entry: &Entry) -> wire::Entry {
    use wire::entry::Kind;
    let spec = &entry.spec;
    let (kind, external_name) = match &spec.kind {
        ServiceKind::ClusterIp { .. } => (Kind::ClusterIp, String::new()),
        ServiceKind::Headless => (Kind::Headless, String::new()),
        ServiceKind::ExternalName { target } => (Kind::ExternalName, target.clone()),
    };
    let reach = entry.reach.ports().iter().copied().chain(std::iter::repeat(PortReach::default()));
    wire::Entry {
        kind: kind.into(),
        vips: spec.vips().iter().map(|vip| ip_to_wire(*vip)).collect(),
        external_name,
        ports: spec.ports.iter().zip(reach).map(|(port, reach)| port_to_wire(port, reach)).collect(),
        affinity_timeout_seconds: match spec.affinity {
            Affinity::None => 0,
            Affinity::ClientIp { timeout_seconds } => timeout_seconds,
        },
        local_traffic_only: spec.internal_traffic == InternalTraffic::Local,
    }
}

fn entry_from_wire(name: &ServiceName, entry: wire::Entry) -> Result<Entry, Malformed> {
    use wire::entry::Kind;
    let kind = match entry.kind() {
        Kind::ClusterIp => ServiceKind::ClusterIp { vips: all(entry.vips, |vip| ip_from_wire(&vip))? },
        Kind::Headless => ServiceKind::Headless,
        Kind::ExternalName => ServiceKind::ExternalName { target: entry.external_name },
    };
    let reach = entry.ports.iter().map(|port| PortReach { v4: port.reachable_v4, v6: port.reachable_v6 }).collect();
    let spec = ServiceSpec {
        name: name.clone(),
        kind,
        ports: all(entry.ports, port_from_wire)?,
        affinity: match entry.affinity_timeout_seconds {
            0 => Affinity::None,
            timeout_seconds => Affinity::ClientIp { timeout_seconds },
        },
        internal_traffic: if entry.local_traffic_only { InternalTraffic::Local } else { InternalTraffic::Cluster },
    };
    Ok(Entry { spec: Arc::new(spec), reach: Reach::new(reach) })
}

/// Of each element what it says, and no room for more: a directory is held for long, and `collect` would go on holding the memory
/// of the message, whose elements are several times as large.
fn all<T, U>(elements: Vec<T>, convert: impl Fn(T) -> Result<U, Malformed>) -> Result<Vec<U>, Malformed> {
    let mut all = Vec::with_capacity(elements.len());
    for element in elements {
        all.push(convert(element)?);
    }
    Ok(all)
}

fn port_to_wire(port: &ServicePort, reach: PortReach) -> wire::Port {
    let transport = match port.transport {
        Transport::Tcp => wire::Transport::Tcp,
        Transport::Udp => wire::Transport::Udp,
        Transport::Sctp => wire::Transport::Sctp,
    };
    let protocol = match port.protocol {
        AppProtocol::Detect => wire::AppProtocol::Detect,
        AppProtocol::Http1 => wire::AppProtocol::Http1,
        AppProtocol::Http2 => wire::AppProtocol::Http2,
        AppProtocol::Grpc => wire::AppProtocol::Grpc,
        AppProtocol::Tls => wire::AppProtocol::Tls,
        AppProtocol::Tcp => wire::AppProtocol::Tcp,
    };
    wire::Port {
        name: port.name.clone(),
        port: port.port.into(),
        transport: transport.into(),
        protocol: protocol.into(),
        policy: Some(policy::to_wire(&port.policy)),
        reachable_v4: reach.v4,
        reachable_v6: reach.v6,
    }
}

fn port_from_wire(port: wire::Port) -> Result<ServicePort, Malformed> {
    Ok(ServicePort {
        port: port_number(port.port)?,
        transport: match wire::Transport::try_from(port.transport) {
            Ok(wire::Transport::Tcp) => Transport::Tcp,
            Ok(wire::Transport::Sctp) => Transport::Sctp,
            // A transport that we do not know is one that we do not carry.
            Ok(wire::Transport::Udp) | Err(_) => Transport::Udp,
        },
        protocol: match wire::AppProtocol::try_from(port.protocol) {
            Ok(wire::AppProtocol::Detect) => AppProtocol::Detect,
            Ok(wire::AppProtocol::Http1) => AppProtocol::Http1,
            Ok(wire::AppProtocol::Http2) => AppProtocol::Http2,
            Ok(wire::AppProtocol::Grpc) => AppProtocol::Grpc,
            Ok(wire::AppProtocol::Tls) => AppProtocol::Tls,
            Ok(wire::AppProtocol::Tcp) | Err(_) => AppProtocol::Tcp,
        },
        policy: port.policy.map(policy::from_wire).transpose()?.unwrap_or_default(),
        name: port.name,
    })
}

fn endpoints_to_wire(delta: &EndpointsDelta) -> wire::EndpointsDelta {
    wire::EndpointsDelta {
        base: delta.base.map(|version| version.0),
        version: delta.version.0,
        upserts: delta.upserts.iter().map(endpoint_to_wire).collect(),
        removed: delta.removed.iter().map(|id| id.0).collect(),
    }
}

fn endpoints_from_wire(delta: wire::EndpointsDelta) -> Result<EndpointsDelta, Malformed> {
    Ok(EndpointsDelta {
        base: delta.base.map(Version),
        version: Version(delta.version),
        upserts: all(delta.upserts, endpoint_from_wire)?,
        removed: delta.removed.into_iter().map(EndpointId).collect(),
    })
}

fn endpoint_to_wire(endpoint: &Versioned<Endpoint>) -> wire::Endpoint {
    let Endpoint { id, port, address, weight, priority, zone, node, hostname, labels, conditions, hints } =
        &*endpoint.value;
    wire::Endpoint {
        id: id.0,
        version: endpoint.version.0,
        port: port.clone(),
        ip: ip_to_wire(address.ip()),
        port_number: address.port().into(),
        weight: *weight,
        priority: *priority,
        zone: zone.clone(),
        node: node.clone(),
        hostname: hostname.clone(),
        labels: labels.iter().map(|(name, value)| wire::Label { name: name.clone(), value: value.clone() }).collect(),
        ready: conditions.ready,
        serving: conditions.serving,
        terminating: conditions.terminating,
        hinted_zones: hints.zones.clone(),
        hinted_nodes: hints.nodes.clone(),
    }
}

fn endpoint_from_wire(endpoint: wire::Endpoint) -> Result<Versioned<Endpoint>, Malformed> {
    if endpoint.weight == 0 {
        return Err(Malformed::field("an endpoint's weight", &0, "at least 1 expected"));
    }
    let value = Endpoint {
        id: EndpointId(endpoint.id),
        port: endpoint.port,
        address: SocketAddr::new(ip_from_wire(&endpoint.ip)?, endpoint_port_number(endpoint.port_number)?),
        weight: endpoint.weight,
        priority: endpoint.priority,
        zone: endpoint.zone,
        node: endpoint.node,
        hostname: endpoint.hostname,
        labels: endpoint.labels.into_iter().map(|label| (label.name, label.value)).collect(),
        conditions: Conditions { ready: endpoint.ready, serving: endpoint.serving, terminating: endpoint.terminating },
        hints: Hints { zones: all(endpoint.hinted_zones, Ok)?, nodes: all(endpoint.hinted_nodes, Ok)? },
    };
    Ok(Versioned { version: Version(endpoint.version), value: Arc::new(value) })
}

/// An address with its port.
pub fn address_to_wire(address: SocketAddr) -> wire::SocketAddress {
    wire::SocketAddress { ip: ip_to_wire(address.ip()), port: address.port().into() }
}

/// An address with its port.
///
/// # Errors
/// When it is none.
pub fn address_from_wire(address: &wire::SocketAddress) -> Result<SocketAddr, Malformed> {
    let port = u16::try_from(address.port)
        .map_err(|_| Malformed::field("the port of an address", &address.port, "at most 65535 expected"))?;
    Ok(SocketAddr::new(ip_from_wire(&address.ip)?, port))
}

fn ip_to_wire(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn ip_from_wire(bytes: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Ok(IpAddr::from(octets));
    }
    let octets = <[u8; 16]>::try_from(bytes);
    octets
        .map(IpAddr::from)
        .map_err(|_| Malformed::field("an address", &format!("{} bytes long", bytes.len()), "4 or 16 expected"))
}

/// Endpoints of headless Services without ports have none: their addresses are for DNS.
fn endpoint_port_number(number: u32) -> Result<u16, Malformed> {
    if number == 0 { Ok(0) } else { port_number(number) }
}

fn port_number(number: u32) -> Result<u16, Malformed> {
    let port = u16::try_from(number).ok().filter(|port| *port != 0);
    port.ok_or_else(|| Malformed::field("a port number", &number, "1 to 65535 expected"))
}

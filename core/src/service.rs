//! Services as the mesh sees them: what a Service declares, and the endpoints behind it.

use std::{fmt, net::IpAddr, sync::Arc};

use crate::{
    candidates::{self, Reach, Viewpoint},
    directory::Entry,
    endpoint::EndpointSet,
    name::ServiceName,
    policy::PortPolicy,
    version::{Canonical, CanonicalWriter, Version, Versioned},
};

/// What a Service declares, without its endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Namespace and name.
    pub name: ServiceName,
    /// How the Service is addressed.
    pub kind: ServiceKind,
    /// Its ports, in the order of the object. Port names are unique within a Service.
    pub ports: Vec<ServicePort>,
    /// Whether successive requests stay on one endpoint.
    pub affinity: Affinity,
    /// Which endpoints traffic from inside the cluster may use.
    pub internal_traffic: InternalTraffic,
}

/// How a Service is addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceKind {
    /// By virtual addresses, the primary family first. Empty while none is assigned.
    ClusterIp {
        /// The ClusterIPs, at most one per family.
        vips: Vec<IpAddr>,
    },
    /// By the addresses of its pods.
    Headless,
    /// As an alias of a DNS name.
    ExternalName {
        /// The name it stands for.
        target: String,
    },
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty if the Service has one unnamed port.
    pub name: String,
    /// The number clients dial.
    pub port: u16,
    /// The transport. Only TCP is balanced; the others are known so that they are told apart.
    pub transport: Transport,
    /// What is spoken on it.
    pub protocol: AppProtocol,
    /// The policy that chooses an endpoint.
    pub policy: PortPolicy,
}

/// Transport protocol of a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Balanced by the mesh.
    Tcp,
    /// Never captured.
    Udp,
    /// Never captured.
    Sctp,
}

/// What is spoken on a Service port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AppProtocol {
    /// Not declared: the first bytes of a connection decide.
    Detect,
    /// HTTP/1.1, WebSocket upgrades included.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC, over HTTP/2 with prior knowledge.
    Grpc,
    /// TLS, passed through.
    Tls,
    /// Opaque bytes.
    Tcp,
}

/// Session affinity of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Every request is balanced.
    None,
    /// Requests stay on one endpoint until none has come for this long.
    ClientIp {
        /// Idle time after which the pin is dropped, in seconds (Kubernetes: 1 to 86400, default 10800).
        timeout_seconds: u32,
    },
}

/// `spec.internalTrafficPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalTraffic {
    /// Every endpoint may be used.
    Cluster,
    /// Only endpoints on the client's node.
    Local,
}

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl ServiceSpec {
    /// The virtual addresses; empty for Services that have none.
    pub fn vips(&self) -> &[IpAddr] {
        match &self.kind {
            ServiceKind::ClusterIp { vips } => vips,
            ServiceKind::Headless | ServiceKind::ExternalName { .. } => &[],
        }
    }

    /// The index of the TCP port with this number.
    pub fn tcp_port(&self, port: u16) -> Option<usize> {
        self.ports.iter().position(|p| p.port == port && p.transport == Transport::Tcp)
    }
}

/// A Service with its endpoints: what the control plane publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What the Service declares.
    pub spec: Versioned<ServiceSpec>,
    /// Everything behind it, for all of its ports and both families.
    pub endpoints: Arc<EndpointSet>,
    /// What is reachable when the node does not matter.
    reach_anywhere: Reach,
    /// The version of the directory entry with that reach; the same for nearly every proxy, so computed once.
    entry_version_anywhere: Version,
}

impl Service {
    /// Joins a declaration and its endpoints.
    pub fn new(spec: ServiceSpec, endpoints: EndpointSet) -> Self {
        Self::with_spec(Versioned::new(spec), endpoints)
    }

    /// Joins a declaration whose version is known and its endpoints.
    pub fn with_spec(spec: Versioned<ServiceSpec>, endpoints: EndpointSet) -> Self {
        let reach_anywhere = candidates::reach(&spec.value, &endpoints, &Viewpoint::default());
        let entry_version_anywhere = Entry::version(spec.version, &reach_anywhere);
        Self { spec, endpoints: Arc::new(endpoints), reach_anywhere, entry_version_anywhere }
    }

    /// The version of the directory entry that a client at `viewpoint` gets.
    pub fn entry_version(&self, viewpoint: &Viewpoint) -> Version {
        match self.spec.value.internal_traffic {
            InternalTraffic::Cluster => self.entry_version_anywhere,
            InternalTraffic::Local => Entry::version(self.spec.version, &self.reach_from(viewpoint)),
        }
    }

    /// What a client at `viewpoint` can reach of it.
    pub fn reach_from(&self, viewpoint: &Viewpoint) -> Reach {
        match self.spec.value.internal_traffic {
            InternalTraffic::Cluster => self.reach_anywhere.clone(),
            InternalTraffic::Local => candidates::reach(&self.spec.value, &self.endpoints, viewpoint),
        }
    }
}

impl Canonical for ServiceSpec {
    fn write(&self, writer: &mut CanonicalWriter) {
        self.name.write(writer);
        match &self.kind {
            ServiceKind::ClusterIp { vips } => {
                writer.number(0u64);
                writer.sequence(vips, |w, vip| w.ip(*vip));
            }
            ServiceKind::Headless => writer.number(1u64),
            ServiceKind::ExternalName { target } => {
                writer.number(2u64);
                writer.text(target);
            }
        }
        writer.sequence(&self.ports, |w, port| port.write(w));
        match self.affinity {
            Affinity::None => writer.number(0u64),
            Affinity::ClientIp { timeout_seconds } => {
                writer.number(1u64);
                writer.number(timeout_seconds);
            }
        }
        writer.number(match self.internal_traffic {
            InternalTraffic::Cluster => 0u64,
            InternalTraffic::Local => 1,
        });
    }
}

impl Canonical for ServicePort {
    fn write(&self, writer: &mut CanonicalWriter) {
        writer.text(&self.name);
        writer.number(self.port);
        writer.number(match self.transport {
            Transport::Tcp => 0u64,
            Transport::Udp => 1,
            Transport::Sctp => 2,
        });
        writer.number(match self.protocol {
            AppProtocol::Detect => 0u64,
            AppProtocol::Http1 => 1,
            AppProtocol::Http2 => 2,
            AppProtocol::Grpc => 3,
            AppProtocol::Tls => 4,
            AppProtocol::Tcp => 5,
        });
        self.policy.write(writer);
    }
}

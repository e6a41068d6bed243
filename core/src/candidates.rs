//! Which endpoints of a Service a client may use: conditions, traffic policy, topology hints and families.
//!
//! The rules are those of kube-proxy (`CategorizeEndpoints` in kubernetes/kubernetes, `pkg/proxy/topology.go`), as
//! listed in docs/services.md, rows 19, 21 and 23 to 25.

use std::sync::Arc;

use crate::{
    endpoint::{Endpoint, EndpointSet},
    service::{Family, InternalTraffic, ServiceSpec, Transport},
};

/// Where a client stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Viewpoint {
    /// Its node; empty if unknown.
    pub node: String,
    /// Its zone; empty if unknown.
    pub zone: String,
}

/// For each port of a Service and each family: whether a client finds any endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    ports: Vec<PortReach>,
}

/// Reachability of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortReach {
    /// Over IPv4.
    pub v4: bool,
    /// Over IPv6.
    pub v6: bool,
}

impl Reach {
    /// One entry per port, in the order of the Service's ports.
    pub fn new(ports: Vec<PortReach>) -> Self {
        Self { ports }
    }

    /// Whether the port at this index has an endpoint in this family. False for an index that does not exist.
    pub fn is_reachable(&self, port: usize, family: Family) -> bool {
        self.ports.get(port).is_some_and(|reach| match family {
            Family::V4 => reach.v4,
            Family::V6 => reach.v6,
        })
    }

    /// One entry per port.
    pub fn ports(&self) -> &[PortReach] {
        &self.ports
    }
}

/// What a client at `viewpoint` can reach. Ports that are not TCP are never reachable through the mesh.
pub fn reach(spec: &ServiceSpec, endpoints: &EndpointSet, viewpoint: &Viewpoint) -> Reach {
    let any = |port: usize, family| !candidates(spec, port, family, endpoints, viewpoint).is_empty();
    let ports = 0..spec.ports.len();
    Reach::new(ports.map(|port| PortReach { v4: any(port, Family::V4), v6: any(port, Family::V6) }).collect())
}

/// The endpoints that a client at `viewpoint` may use for one port and family, ordered by id.
///
/// An index that is not a TCP port of the Service has no candidates.
pub fn candidates(
    spec: &ServiceSpec,
    port: usize,
    family: Family,
    endpoints: &EndpointSet,
    viewpoint: &Viewpoint,
) -> Vec<Arc<Endpoint>> {
    let Some(port) = spec.ports.get(port).filter(|port| port.transport == Transport::Tcp) else {
        return Vec::new();
    };
    let local_only = spec.internal_traffic == InternalTraffic::Local;
    let usable = |endpoint: &&Arc<Endpoint>| {
        endpoint.port == port.name
            && Family::of(endpoint.address.ip()) == family
            && (!local_only || is_on_node(endpoint, viewpoint))
    };
    let ready: Vec<_> = endpoints.iter().filter(usable).filter(|e| e.conditions.ready).collect();
    if ready.is_empty() {
        let still_answers = |e: &&Arc<Endpoint>| e.conditions.serving && e.conditions.terminating;
        return endpoints.iter().filter(usable).filter(still_answers).cloned().collect();
    }
    // `Local` is the stronger wish: kube-proxy reads hints for cluster-wide traffic only.
    let chosen = if local_only { ready } else { follow_hints(ready, viewpoint) };
    chosen.into_iter().cloned().collect()
}

fn is_on_node(endpoint: &Endpoint, viewpoint: &Viewpoint) -> bool {
    !viewpoint.node.is_empty() && endpoint.node == viewpoint.node
}

/// Narrows to this node, else to this zone, if every endpoint carries the hint and one of them is meant for us.
fn follow_hints<'a>(ready: Vec<&'a Arc<Endpoint>>, viewpoint: &Viewpoint) -> Vec<&'a Arc<Endpoint>> {
    let narrow = |hint: fn(&Endpoint) -> &[String], own: &str| {
        let all_hinted = ready.iter().all(|endpoint| !hint(endpoint).is_empty());
        let meant_for_us = |endpoint: &&&Arc<Endpoint>| hint(endpoint).iter().any(|place| place == own);
        let ours: Vec<_> = ready.iter().filter(meant_for_us).copied().collect();
        (all_hinted && !own.is_empty() && !ours.is_empty()).then_some(ours)
    };
    narrow(|e| &e.hints.nodes, &viewpoint.node).or_else(|| narrow(|e| &e.hints.zones, &viewpoint.zone)).unwrap_or(ready)
}

//! What is to be captured.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use super::{Cidr, CidrSet, RefuseSet};
use crate::service::Family;

/// What somebody wants captured, as it was said.
#[derive(Debug, Clone, Default)]
pub struct PlanSpec {
    /// Where Services live: only TCP to these ranges is redirected.
    pub service_cidrs: Vec<Cidr>,
    /// More ranges to redirect.
    pub include_cidrs: Vec<Cidr>,
    /// Ranges never to redirect.
    pub exclude_cidrs: Vec<Cidr>,
    /// Destination ports never to redirect.
    pub exclude_ports: Vec<u16>,
    /// Name servers whose queries, UDP and TCP, are redirected.
    pub resolvers: Vec<IpAddr>,
    /// Where the proxy takes captured connections, on 127.0.0.1 and ::1.
    pub outbound_port: u16,
    /// Where the proxy answers names, on 127.0.0.1 and ::1.
    pub dns_port: u16,
    /// The user whose own connections are never redirected.
    pub proxy_uid: u32,
    /// What the kernel keeps track of.
    pub tracking: Tracking,
}

/// What connection tracking is spared. NAT turns it on for all of a pod's traffic; it costs memory and, when its table
/// is full, connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tracking {
    /// Nothing.
    All,
    /// Talk between 127.0.0.1 and itself and between ::1 and itself. Not all of 127.0.0.0/8: other addresses in it are
    /// where others translate addresses, such as Docker's name server on 127.0.0.11.
    #[default]
    SpareLoopback,
    /// Besides, the proxy's own connections to other hosts and all that arrives from them. Anyone else in the pod who
    /// filters by connection state or translates addresses would be blinded by it.
    OnlyCaptured,
}

/// What is to be captured, checked and in normal form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub(super) captured: CidrSet,
    pub(super) excluded: CidrSet,
    pub(super) excluded_ports: BTreeSet<u16>,
    pub(super) resolvers: CidrSet,
    pub(super) outbound_port: u16,
    pub(super) dns_port: u16,
    pub(super) proxy_uid: u32,
    pub(super) tracking: Tracking,
}

/// Why a plan makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlan {
    /// It would redirect nothing.
    #[error(
        "nothing to capture: say where Services live with --service-cidr, the cluster's service range \
         (`kubectl get servicecidrs`, or the API server's --service-cluster-ip-range)"
    )]
    NothingToCapture,
    /// Nothing listens on port 0.
    #[error("port 0 cannot be redirected to: give the port that the proxy listens on")]
    PortZero,
    /// Half of what runs in containers is root.
    #[error("the proxy's user cannot be 0: every process of root would bypass the mesh")]
    ProxyIsRoot,
}

impl Plan {
    /// Checks and orders what is wanted.
    ///
    /// # Errors
    /// When it would capture nothing, redirect to no port, or exempt root.
    pub fn new(spec: &PlanSpec) -> Result<Self, InvalidPlan> {
        let captured: CidrSet = spec.service_cidrs.iter().chain(&spec.include_cidrs).copied().collect();
        let resolvers: CidrSet = spec.resolvers.iter().map(|address| Cidr::from(*address)).collect();
        if captured.is_empty() && resolvers.is_empty() {
            return Err(InvalidPlan::NothingToCapture);
        }
        if spec.outbound_port == 0 || spec.dns_port == 0 {
            return Err(InvalidPlan::PortZero);
        }
        if spec.proxy_uid == 0 {
            return Err(InvalidPlan::ProxyIsRoot);
        }
        Ok(Self {
            captured,
            excluded: spec.exclude_cidrs.iter().copied().collect(),
            excluded_ports: spec.exclude_ports.iter().copied().collect(),
            resolvers,
            outbound_port: spec.outbound_port,
            dns_port: spec.dns_port,
            proxy_uid: spec.proxy_uid,
            tracking: spec.tracking,
        })
    }

    /// The proxy's user.
    pub fn proxy_uid(&self) -> u32 {
        self.proxy_uid
    }

    /// Whether anything of this family is redirected.
    pub fn covers(&self, family: Family) -> bool {
        self.captured.has(family) || self.resolvers.has(family)
    }

    /// The proxy's TCP listeners that the rules lead to: they must answer before the rules stand.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        let needed = |set: &CidrSet, port, family| set.has(family).then(|| SocketAddr::new(loopback(family), port));
        let of = |family| {
            [needed(&self.captured, self.outbound_port, family), needed(&self.resolvers, self.dns_port, family)]
        };
        [Family::V4, Family::V6].into_iter().flat_map(of).flatten().collect()
    }

    /// Those that this plan leads to the proxy's connections: what is left alone is left alone, also when nobody is there
    /// to answer, and a name server whose queries the proxy answers is never missing.
    pub fn refusable<'a>(&'a self, refused: &'a RefuseSet) -> impl Iterator<Item = SocketAddr> + 'a {
        let is_captured = |destination: &&SocketAddr| {
            let (ip, port) = (destination.ip(), destination.port());
            let is_excluded = self.excluded.contains(ip) || self.excluded_ports.contains(&port);
            let is_resolver = port == 53 && self.resolvers.contains(ip);
            self.captured.contains(ip) && !is_excluded && !is_resolver
        };
        refused.iter().filter(is_captured).copied()
    }
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        Family::V6 => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
    }
}

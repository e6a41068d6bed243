//! Where a connection or request goes, before any endpoint is chosen.
//!
//! The rule above all others: a destination that is not a known (address, TCP, port) of the mesh is passed through
//! untouched.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    directory::Entry,
    name::service_of_host,
    service::{Family, ServiceKind},
    table::Table,
};

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// To an endpoint of a Service.
    Mesh(MeshRoute),
    /// On to where the client wanted to go, unchanged.
    Passthrough,
    /// Nowhere.
    Refuse(Refusal),
    /// On to another host name, same port: the Service is an alias.
    Alias(String),
}

/// A port of a Service, over one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshRoute {
    /// The Service.
    pub entry: Arc<Entry>,
    /// Index into the Service's ports.
    pub port: usize,
    /// The family of the endpoints to use.
    pub family: Family,
}

/// Why a destination is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The Service has no endpoint that this proxy may use.
    #[error("the service has no endpoint that this client may use")]
    NoEndpoints,
    /// The destination is the proxy itself.
    #[error("the destination is the proxy itself")]
    Loop,
}

/// Routes a captured connection by its original destination.
///
/// `own` are the proxy's own listeners: a connection straight to one of them has it as its original destination.
pub fn route_address(table: &Table, destination: SocketAddr, own: &[SocketAddr]) -> Route {
    if own.iter().any(|listener| is_same_place(*listener, destination)) {
        return Route::Refuse(Refusal::Loop);
    }
    let Some(entry) = table.directory().by_vip(destination.ip()) else {
        return Route::Passthrough;
    };
    let Some(port) = entry.spec.tcp_port(destination.port()) else {
        return Route::Passthrough;
    };
    let family = Family::of(destination.ip());
    if !entry.reach.is_reachable(port, family) {
        return Route::Refuse(Refusal::NoEndpoints);
    }
    Route::Mesh(MeshRoute { entry: Arc::clone(entry), port, family })
}

/// A listener on an unspecified address is reached by every local address; only loopback ones are certain here.
fn is_same_place(listener: SocketAddr, destination: SocketAddr) -> bool {
    let same_ip =
        listener.ip() == destination.ip() || (listener.ip().is_unspecified() && destination.ip().is_loopback());
    same_ip && listener.port() == destination.port()
}

/// Routes a request by the host name and port that the client asked for.
///
/// A headless Service is balanced over its ready pods here, since the client leaves the choice to us by giving a name;
/// a pod address that it dials itself is never re-balanced.
pub fn route_name(table: &Table, host: &str, port: u16, own_namespace: &str, cluster_domain: &str) -> Route {
    let Some(held) = service_of_host(host, own_namespace, cluster_domain).and_then(|name| table.get(&name)) else {
        return Route::Passthrough;
    };
    let entry = &held.entry.value;
    if let ServiceKind::ExternalName { target } = &entry.spec.kind {
        return Route::Alias(target.clone());
    }
    let Some(port) = entry.spec.tcp_port(port) else {
        return Route::Passthrough;
    };
    let primary = entry.spec.vips().first().map_or(Family::V4, |vip| Family::of(*vip));
    let other = if primary == Family::V4 { Family::V6 } else { Family::V4 };
    match [primary, other].into_iter().find(|family| entry.reach.is_reachable(port, *family)) {
        Some(family) => Route::Mesh(MeshRoute { entry: Arc::clone(entry), port, family }),
        None => Route::Refuse(Refusal::NoEndpoints),
    }
}

//! Values of the core, for the fakes that speak the protocol themselves.

use std::{net::SocketAddr, sync::Arc};

use wasmesh_core::{
    candidates::Viewpoint,
    directory::Entry,
    endpoint::{Conditions, Endpoint, EndpointId, EndpointSet, Hints},
    policy::BuiltinPolicy,
    service::{Affinity, AppProtocol, InternalTraffic, Service, ServiceKind, ServicePort, ServiceSpec, Transport},
    snapshot::Snapshot,
    table::ServiceChange,
    version::Versioned,
};
use wasmesh_proto::{convert::encode_body, wire};

/// A Service with this virtual address and port and these endpoints.
pub fn core_service(name: &str, vip: SocketAddr, endpoints: &[SocketAddr]) -> Arc<Service> {
    let port = ServicePort {
        name: "http".to_owned(),
        port: vip.port(),
        transport: Transport::Tcp,
        protocol: AppProtocol::Http1,
        policy: BuiltinPolicy::default().into(),
    };
    let spec = ServiceSpec {
        name: name.parse().expect("NAMESPACE/NAME"),
        kind: ServiceKind::ClusterIp { vips: vec![vip.ip()] },
        ports: vec![port],
        affinity: Affinity::None,
        internal_traffic: InternalTraffic::Cluster,
    };
    let endpoints = endpoints.iter().zip(1..).map(|(address, id)| endpoint(id, *address));
    Arc::new(Service::new(spec, EndpointSet::new(endpoints)))
}

/// An endpoint of the port `http`.
pub fn endpoint(id: u64, address: SocketAddr) -> Endpoint {
    Endpoint {
        id: EndpointId(id),
        port: "http".to_owned(),
        address,
        weight: 1,
        priority: 0,
        zone: String::new(),
        node: String::new(),
        hostname: String::new(),
        labels: Default::default(),
        conditions: Conditions::default(),
        hints: Hints::default(),
    }
}

/// A snapshot of these.
pub fn snapshot_of<'a>(services: impl IntoIterator<Item = &'a Arc<Service>>) -> Snapshot {
    services.into_iter().map(|service| (service.spec.value.name.clone(), Arc::clone(service))).collect()
}

/// The item that sends a Service whole.
pub fn item(service: &Service, with_endpoints: bool) -> wire::Item {
    let anywhere = Viewpoint::default();
    let version = service.entry_version(&anywhere);
    let value = Entry { spec: Arc::clone(&service.spec.value), reach: service.reach_from(&anywhere) };
    let change = ServiceChange {
        name: service.spec.value.name.clone(),
        entry: Some(Versioned { version, value: Arc::new(value) }),
        endpoints: with_endpoints.then(|| service.endpoints.as_replacement()),
    };
    wire::Item {
        name: change.name.to_string(),
        entry_version: version.0,
        endpoints_version: with_endpoints.then(|| service.endpoints.version().0),
        body: encode_body(&change),
    }
}

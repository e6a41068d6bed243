//! Both ends of the discovery stream, fed with messages of a peer that says anything.

use std::sync::Arc;

use prost::Message;
use wasmesh_core::{
    endpoint::EndpointSet,
    policy::BuiltinPolicy,
    service::{Affinity, AppProtocol, InternalTraffic, Service, ServiceKind, ServicePort, ServiceSpec, Transport},
    snapshot::Snapshot,
};
use wasmesh_proto::{
    PROTOCOL,
    session::{client::ClientSession, encoder::Encoder, server::ServerSession},
    wire::{self, to_proxy::Message as ToProxy},
};

/// Messages, each behind its length in two bytes. What cannot be decoded a stream does not deliver.
fn messages<M: Message + Default>(mut bytes: &[u8]) -> impl Iterator<Item = M> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
        let (message, rest) = rest.split_at(length);
        bytes = rest;
        Some(M::decode(message))
    })
    .flatten()
}

/// A proxy hears a control plane. Whatever that says, what the proxy holds is known by its checksums.
pub(crate) fn to_proxy(bytes: &[u8]) {
    let mut session = ClientSession::default();
    drop(session.hello(wire::Node::default()));
    let welcome = wire::Welcome { protocol: PROTOCOL, ..Default::default() };
    let welcome = wire::ToProxy { message: Some(ToProxy::Welcome(welcome)) };
    for message in std::iter::once(welcome).chain(messages(bytes)) {
        if session.on_message(message).is_err() {
            // The stream ends, and another begins.
            drop(session.hello(wire::Node::default()));
        }
        for (name, _) in session.table().iter() {
            assert!(session.table().get(name).is_some(), "{name} is there and cannot be found");
        }
    }
}

/// A control plane hears a proxy.
pub(crate) fn to_control_plane(bytes: &[u8]) {
    let (encoder, latest) = (Encoder::default(), snapshot());
    let mut session = ServerSession::new("replica");
    let hello = wire::Hello { protocol: PROTOCOL, ..Default::default() };
    let hello = wire::FromProxy { message: Some(wire::from_proxy::Message::Hello(hello)) };
    let mut began = bytes.first().is_some_and(|byte| byte % 2 == 0).then_some(hello);
    for message in began.take().into_iter().chain(messages(bytes.get(1..).unwrap_or_default())) {
        if session.on_message(message, &latest).is_err() {
            return;
        }
        drop(session.poll(&latest, &encoder));
    }
}

/// Two Services without endpoints.
fn snapshot() -> Snapshot {
    ["a/web", "b/api"].into_iter().enumerate().filter_map(|(at, name)| service(at as u8, name)).collect()
}

fn service(at: u8, name: &str) -> Option<(wasmesh_core::name::ServiceName, Arc<Service>)> {
    let name: wasmesh_core::name::ServiceName = name.parse().ok()?;
    let port = ServicePort {
        name: "http".to_owned(),
        port: 80,
        transport: Transport::Tcp,
        protocol: AppProtocol::Http1,
        policy: BuiltinPolicy::LeastRequest.into(),
    };
    let spec = ServiceSpec {
        name: name.clone(),
        kind: ServiceKind::ClusterIp { vips: vec![[10, 96, 0, at].into()] },
        ports: vec![port],
        affinity: Affinity::None,
        internal_traffic: InternalTraffic::Cluster,
    };
    Some((name, Arc::new(Service::new(spec, EndpointSet::new(Vec::new())))))
}

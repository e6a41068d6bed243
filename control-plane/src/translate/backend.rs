//! One entry of a slice: who it is, and what all of its ports have in common.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::{
    core::v1::ObjectReference,
    discovery::v1::{self, EndpointSlice},
};
use wasmesh_core::{
    endpoint::{Conditions, Endpoint, EndpointId, Hints},
    service::ServiceSpec,
    version::{Canonical, CanonicalWriter},
};

use super::{
    facts::{Facts, PRIORITY, PodFacts, PodName, WEIGHT},
    object::{ObjectKey, ObjectKind},
    problem::{Problem, Report},
};

/// What the ports of one endpoint have in common.
pub(super) struct Backend<'a> {
    ip: IpAddr,
    source: &'a v1::Endpoint,
    target: Option<PodName>,
    weight: u32,
    priority: u32,
    zone: String,
    labels: Vec<(&'a str, &'a str)>,
}

impl<'a> Backend<'a> {
    pub(super) fn new(
        slice: &EndpointSlice,
        source: &'a v1::Endpoint,
        ip: IpAddr,
        (facts, wanted_labels): (&'a Facts, &BTreeSet<&str>),
        problems: &mut Vec<Problem>,
    ) -> Self {
        let pod = pod_of(slice, source).and_then(|name| Some((facts.pod(&name)?, name)));
        let labels = pod.iter().flat_map(|(facts, _)| &facts.labels);
        let labels = labels.filter(|(label, _)| wanted_labels.contains(label.as_str()));
        let labels = labels.map(|(label, value)| (label.as_str(), value.as_str())).collect();
        let (weight, priority) = pod.map_or((1, 0), |(facts, name)| preferences(&name, facts, problems));
        let zone_of_node = || facts.zone_of_node(source.node_name.as_deref()?);
        let zone = source.zone.as_deref().filter(|zone| !zone.is_empty()).or_else(zone_of_node);
        let zone = zone.unwrap_or_default().to_owned();
        Self { ip, source, target: target_name(slice, source), weight, priority, zone, labels }
    }

    /// The endpoint for one port of the Service: the port's name, and the number it has here.
    pub(super) fn endpoint(&self, service: &ServiceSpec, port: &str, number: u16) -> Endpoint {
        let address = SocketAddr::new(self.ip, number);
        Endpoint {
            id: endpoint_id(service, port, address, self.source.target_ref.as_ref(), self.target.as_ref()),
            port: port.to_owned(),
            address,
            weight: self.weight,
            priority: self.priority,
            zone: self.zone.clone(),
            node: self.source.node_name.clone().unwrap_or_default(),
            hostname: self.source.hostname.clone().unwrap_or_default(),
            labels: self.labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
            conditions: conditions(self.source.conditions.as_ref()),
            hints: hints(self.source.hints.as_ref()),
        }
    }
}

/// Another pod on the same address is another endpoint: its load and its failures are its own.
fn endpoint_id(
    service: &ServiceSpec,
    port: &str,
    address: SocketAddr,
    target: Option<&ObjectReference>,
    target_name: Option<&PodName>,
) -> EndpointId {
    let mut writer = CanonicalWriter::default();
    service.name.write(&mut writer);
    writer.text(port);
    writer.ip(address.ip());
    writer.number(address.port());
    let uid = target.and_then(|target| target.uid.as_deref()).filter(|uid| !uid.is_empty());
    match (uid, target_name) {
        (Some(uid), _) => {
            writer.number(1u64);
            writer.text(uid);
        }
        (None, Some((namespace, name))) => {
            writer.number(2u64);
            writer.text(namespace);
            writer.text(name);
        }
        (None, None) => writer.number(0u64),
    }
    EndpointId(writer.finish())
}

/// The object an endpoint stands for, if its name is known. In the namespace of the slice unless it says otherwise.
fn target_name(slice: &EndpointSlice, source: &v1::Endpoint) -> Option<PodName> {
    let target = source.target_ref.as_ref()?;
    let name = target.name.clone().filter(|name| !name.is_empty())?;
    let namespace = target.namespace.as_ref().or(slice.metadata.namespace.as_ref());
    Some((namespace.cloned().unwrap_or_default(), name))
}

/// The pod an endpoint of a slice stands for.
pub(super) fn pod_of(slice: &EndpointSlice, source: &v1::Endpoint) -> Option<PodName> {
    let is_pod = source.target_ref.as_ref()?.kind.as_deref() == Some("Pod");
    target_name(slice, source).filter(|_| is_pod)
}

fn conditions(conditions: Option<&v1::EndpointConditions>) -> Conditions {
    let default = Conditions::default();
    conditions.map_or(default, |given| Conditions {
        ready: given.ready.unwrap_or(default.ready),
        serving: given.serving.unwrap_or(default.serving),
        terminating: given.terminating.unwrap_or(default.terminating),
    })
}

fn hints(hints: Option<&v1::EndpointHints>) -> Hints {
    hints.map_or_else(Hints::default, |given| Hints {
        zones: given.for_zones.iter().flatten().map(|zone| zone.name.clone()).collect(),
        nodes: given.for_nodes.iter().flatten().map(|node| node.name.clone()).collect(),
    })
}

/// Weight and priority of a pod.
fn preferences(pod: &PodName, facts: &PodFacts, problems: &mut Vec<Problem>) -> (u32, u32) {
    let key = ObjectKey { kind: ObjectKind::Pod, namespace: pod.0.clone(), name: pod.1.clone() };
    let mut report = Report::on(key);
    let mut number = |annotation: &str, value: Option<&String>, default: u32, least: u32| {
        let value = value?;
        let number = value.trim().parse::<u32>().ok().filter(|number| *number >= least);
        if number.is_none() {
            let reason = format!("{value:?} is not a whole number from {least}: {default} is used instead");
            report.add(format!("metadata.annotations[{annotation}]"), reason);
        }
        number
    };
    let weight = number(WEIGHT, facts.weight.as_ref(), 1, 1).unwrap_or(1);
    let priority = number(PRIORITY, facts.priority.as_ref(), 0, 0).unwrap_or(0);
    problems.extend(report.into_problems());
    (weight, priority)
}

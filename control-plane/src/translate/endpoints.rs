//! The endpoints of a Service, from all of its slices.
//!
//! kube-proxy's `EndpointSliceCache` is the model: ports are matched by name and protocol, the first address of an
//! endpoint counts, and an address that several slices list is one endpoint.

use std::{
    collections::{BTreeSet, HashMap, hash_map},
    net::{IpAddr, SocketAddr},
};

use k8s_openapi::api::discovery::v1::{self, EndpointSlice};
use wasmesh_core::{
    endpoint::{Conditions, Endpoint, EndpointSet},
    service::{Family, ServiceKind, ServiceSpec},
};

use super::{
    HEADLESS, PROXY_NAME,
    backend::Backend,
    facts::Facts,
    has_label,
    object::{ObjectKey, ObjectKind},
    port::{not_a_port, port_number, transport},
    problem::{Problem, Report},
};

/// Everything behind a Service, with these labels of its pods. What is wrong with slices and pods is added to `problems`.
pub(super) fn endpoint_set<'a>(
    spec: &ServiceSpec,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    facts: &Facts,
    labels: &BTreeSet<&str>,
    problems: &mut Vec<Problem>,
) -> EndpointSet {
    if matches!(spec.kind, ServiceKind::ExternalName { .. }) {
        return EndpointSet::default();
    }
    let mut slices: Vec<_> = slices.into_iter().filter(|slice| is_served(slice, &spec.kind)).collect();
    // The first of two equal endpoints stays, so the order must not be that of arrival.
    slices.sort_by_key(|slice| slice.metadata.name.as_deref());
    let mut merge = Merge { spec, facts, labels, found: HashMap::new() };
    for slice in slices {
        let mut report = Report::on(ObjectKey::of(ObjectKind::EndpointSlice, &slice.metadata));
        merge.add_slice(slice, &mut report, problems);
        problems.extend(report.into_problems());
    }
    EndpointSet::new(merge.found.into_values())
}

/// As kube-proxy selects them; it never serves a headless Service, whose slices carry that label.
fn is_served(slice: &EndpointSlice, kind: &ServiceKind) -> bool {
    let labels = slice.metadata.labels.as_ref();
    !has_label(labels, PROXY_NAME) && (*kind == ServiceKind::Headless || !has_label(labels, HEADLESS))
}

/// The endpoints of the slices seen so far.
struct Merge<'a> {
    spec: &'a ServiceSpec,
    facts: &'a Facts,
    labels: &'a BTreeSet<&'a str>,
    found: HashMap<(&'a str, SocketAddr), Endpoint>,
}

/// A port of a slice that belongs to a port of the Service.
struct SlicePort<'a> {
    name: &'a str,
    number: u16,
}

impl<'a> Merge<'a> {
    fn add_slice(&mut self, slice: &EndpointSlice, report: &mut Report, problems: &mut Vec<Problem>) {
        let family = match slice.address_type.as_str() {
            "IPv4" => Family::V4,
            "IPv6" => Family::V6,
            // Names are not addresses; Kubernetes gives these slices no meaning and kube-proxy skips them.
            "FQDN" => return,
            other => {
                report
                    .add("addressType", format!("{other:?} is unknown, so the slice is left out: write IPv4 or IPv6"));
                return;
            }
        };
        let ports = self.matching_ports(slice.ports.as_deref().unwrap_or_default(), report);
        for (index, source) in slice.endpoints.iter().enumerate() {
            match usable_address(&source.addresses, family) {
                Ok(address) => {
                    let backend = Backend::new(slice, source, address, (self.facts, self.labels), problems);
                    self.add_backend(&backend, &ports);
                    if source.addresses.len() > 1 {
                        let reason = format!("only {address} is used, as by kube-proxy: list the others on their own");
                        report.add(format!("endpoints[{index}].addresses"), reason);
                    }
                }
                Err(reason) => {
                    report.add(format!("endpoints[{index}].addresses"), format!("{reason}; this endpoint is left out"));
                }
            }
        }
    }

    fn matching_ports(&self, ports: &[v1::EndpointPort], report: &mut Report) -> Vec<SlicePort<'a>> {
        if self.spec.kind == ServiceKind::Headless && self.spec.ports.is_empty() {
            // A headless Service needs no ports: it is a name for the addresses of its pods.
            return vec![SlicePort { name: "", number: 0 }];
        }
        let mut matching = Vec::with_capacity(ports.len());
        for (index, port) in ports.iter().enumerate() {
            match self.matching_port(port) {
                Ok(port) => matching.extend(port),
                Err((field, reason)) => {
                    report.add(format!("ports[{index}].{field}"), format!("{reason}; this port is left out"));
                }
            }
        }
        matching
    }

    /// `None` for a port that the Service does not have: that is so whenever one of the two changes first.
    fn matching_port(&self, port: &v1::EndpointPort) -> Result<Option<SlicePort<'a>>, (&'static str, String)> {
        let Some(name) = port.name.as_deref() else {
            return Err(("name", "is missing: write \"\" for the unnamed port of a Service".to_owned()));
        };
        let Some(number) = port.port.filter(|number| *number != 0) else {
            return Err(("port", "is missing or 0, so nothing could be dialled".to_owned()));
        };
        let number = port_number(number).ok_or_else(|| ("port", not_a_port(number)))?;
        let transport = transport(port.protocol.as_deref()).map_err(|reason| ("protocol", reason))?;
        let declared = self.spec.ports.iter().find(|declared| declared.name == name && declared.transport == transport);
        Ok(declared.map(|declared| SlicePort { name: &declared.name, number }))
    }

    fn add_backend(&mut self, backend: &Backend<'_>, ports: &[SlicePort<'a>]) {
        for port in ports {
            let endpoint = backend.endpoint(self.spec, port.name, port.number);
            match self.found.entry((port.name, endpoint.address)) {
                hash_map::Entry::Vacant(vacant) => {
                    vacant.insert(endpoint);
                }
                hash_map::Entry::Occupied(mut known) if merit(known.get()) < merit(&endpoint) => {
                    known.insert(endpoint);
                }
                hash_map::Entry::Occupied(_) => {}
            }
        }
    }
}

fn usable_address(addresses: &[String], family: Family) -> Result<IpAddr, String> {
    let Some(text) = addresses.first() else {
        return Err("there is no address: give each endpoint one".to_owned());
    };
    let Ok(ip) = text.parse::<IpAddr>() else {
        return Err(format!("{text:?} is not an IP address"));
    };
    // What clients and checks compare has one form: ::ffff:10.0.0.1 is 10.0.0.1.
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{ip} cannot be dialled"));
    }
    if Family::of(ip) != family {
        return Err(format!("{ip} is not an {family} address, as the addressType of the slice says"));
    }
    Ok(ip)
}

/// Of two entries for one address the better one tells the truth: the other is on its way in or out.
fn merit(endpoint: &Endpoint) -> (bool, bool, bool) {
    let Conditions { ready, serving, terminating } = endpoint.conditions;
    (ready, serving, !terminating)
}

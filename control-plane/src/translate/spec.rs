//! What a Service declares: how it is addressed, its ports, affinity and traffic policy.

use std::net::IpAddr;

use k8s_openapi::api::core::v1;
use wasmesh_core::{
    name::ServiceName,
    policy::{BuiltinPolicy, UnknownPolicy},
    service::{Affinity, Family, InternalTraffic, ServiceKind, ServiceSpec},
};

use super::{HEADLESS, POLICY, has_label, port::service_ports, problem::Report};

/// What Kubernetes fills in for `sessionAffinityConfig.clientIP.timeoutSeconds`, and the most that it allows.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;
const MAX_AFFINITY_SECONDS: u32 = 86_400;

/// The declaration of a Service; `None` if it does not say how it is addressed.
pub(super) fn service_spec(service: &v1::Service, name: ServiceName, report: &mut Report) -> Option<ServiceSpec> {
    let Some(spec) = &service.spec else {
        report.add("spec", "is missing, so there is nothing to serve: give the Service a spec");
        return None;
    };
    let kind = match kind(spec, report)? {
        // kube-proxy does not serve these addresses either: whoever set the label sees to them.
        ServiceKind::ClusterIp { .. } if has_label(service.metadata.labels.as_ref(), HEADLESS) => {
            ServiceKind::ClusterIp { vips: Vec::new() }
        }
        kind => kind,
    };
    let policy = policy(service, report);
    let ports = service_ports(spec.ports.as_deref().unwrap_or_default(), policy, report);
    Some(ServiceSpec {
        name,
        kind,
        ports,
        affinity: affinity(spec, report),
        internal_traffic: internal_traffic(spec, report),
    })
}

fn kind(spec: &v1::ServiceSpec, report: &mut Report) -> Option<ServiceKind> {
    if spec.type_.as_deref() == Some("ExternalName") {
        let target = spec.external_name.as_deref().unwrap_or_default();
        if target.is_empty() {
            report.add("spec.externalName", "is missing: name the host that this Service stands for");
            return None;
        }
        return Some(ServiceKind::ExternalName { target: target.to_owned() });
    }
    let (field, claimed) = match spec.cluster_ips.as_deref() {
        Some(addresses) if !addresses.is_empty() => ("spec.clusterIPs", addresses),
        _ => ("spec.clusterIP", spec.cluster_ip.as_slice()),
    };
    if claimed.first().is_some_and(|address| address == "None") {
        return Some(ServiceKind::Headless);
    }
    let mut vips: Vec<IpAddr> = Vec::new();
    for address in claimed.iter().filter(|address| !address.is_empty()) {
        match usable_vip(address, &vips) {
            Ok(vip) => vips.push(vip),
            Err(reason) => report.add(field, reason),
        }
    }
    Some(ServiceKind::ClusterIp { vips })
}

fn usable_vip(text: &str, taken: &[IpAddr]) -> Result<IpAddr, String> {
    let Ok(vip) = text.parse::<IpAddr>() else {
        return Err(format!("{text:?} is not an IP address: it is left out, write it as 10.96.0.1 or fd00::1"));
    };
    let vip = vip.to_canonical();
    if vip.is_unspecified() || vip.is_multicast() {
        return Err(format!("{vip} cannot be the address of a Service: it is left out"));
    }
    match taken.iter().find(|other| Family::of(**other) == Family::of(vip)) {
        Some(first) => Err(format!("{vip} is left out: {first} is already the {} address", Family::of(vip))),
        None => Ok(vip),
    }
}

fn policy(service: &v1::Service, report: &mut Report) -> BuiltinPolicy {
    let Some(name) = service.metadata.annotations.as_ref().and_then(|annotations| annotations.get(POLICY)) else {
        return BuiltinPolicy::default();
    };
    name.parse().unwrap_or_else(|unknown: UnknownPolicy| {
        let default = BuiltinPolicy::default();
        report.add(format!("metadata.annotations[{POLICY}]"), format!("{unknown}; {} is used instead", default.name()));
        default
    })
}

fn affinity(spec: &v1::ServiceSpec, report: &mut Report) -> Affinity {
    match spec.session_affinity.as_deref() {
        None | Some("" | "None") => Affinity::None,
        Some("ClientIP") => Affinity::ClientIp { timeout_seconds: affinity_seconds(spec, report) },
        Some(other) => {
            let reason = format!("{other:?} is unknown, so requests are not pinned: write ClientIP or None");
            report.add("spec.sessionAffinity", reason);
            Affinity::None
        }
    }
}

fn affinity_seconds(spec: &v1::ServiceSpec, report: &mut Report) -> u32 {
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = config.and_then(|client_ip| client_ip.timeout_seconds) else {
        return DEFAULT_AFFINITY_SECONDS;
    };
    match u32::try_from(seconds) {
        Ok(seconds @ 1..=MAX_AFFINITY_SECONDS) => seconds,
        _ => {
            let reason = format!(
                "{seconds} is not between 1 and {MAX_AFFINITY_SECONDS}: {DEFAULT_AFFINITY_SECONDS} is used instead"
            );
            report.add("spec.sessionAffinityConfig.clientIP.timeoutSeconds", reason);
            DEFAULT_AFFINITY_SECONDS
        }
    }
}

fn internal_traffic(spec: &v1::ServiceSpec, report: &mut Report) -> InternalTraffic {
    match spec.internal_traffic_policy.as_deref() {
        None | Some("" | "Cluster") => InternalTraffic::Cluster,
        Some("Local") => InternalTraffic::Local,
        Some(other) => {
            let reason = format!("{other:?} is unknown, so every endpoint is used: write Cluster or Local");
            report.add("spec.internalTrafficPolicy", reason);
            InternalTraffic::Cluster
        }
    }
}

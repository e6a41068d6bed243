//! The ports of a Service and what is spoken on them.

use k8s_openapi::api::core::v1;
use wasmesh_core::{
    policy::BuiltinPolicy,
    service::{AppProtocol, ServicePort, Transport},
};

use super::problem::Report;

/// The usable ones of the declared ports, in their order.
pub(super) fn service_ports(
    declared: &[v1::ServicePort],
    policy: BuiltinPolicy,
    report: &mut Report,
) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::with_capacity(declared.len());
    for (index, port) in declared.iter().enumerate() {
        match usable_port(port, policy, &ports) {
            Ok(port) => ports.push(port),
            Err((field, reason)) => {
                report.add(format!("spec.ports[{index}].{field}"), format!("{reason}; this port is left out"));
            }
        }
    }
    ports
}

fn usable_port(
    declared: &v1::ServicePort,
    policy: BuiltinPolicy,
    others: &[ServicePort],
) -> Result<ServicePort, (&'static str, String)> {
    let port = port_number(declared.port).ok_or_else(|| ("port", not_a_port(declared.port)))?;
    let transport = transport(declared.protocol.as_deref()).map_err(|reason| ("protocol", reason))?;
    let name = declared.name.clone().unwrap_or_default();
    if others.iter().any(|other| other.name == name) {
        return Err(("name", format!("{name:?} names another port already: give each port a name of its own")));
    }
    if others.iter().any(|other| (other.port, other.transport) == (port, transport)) {
        return Err(("port", format!("{port} is declared twice for the same protocol")));
    }
    let protocol = app_protocol(declared.app_protocol.as_deref(), &name);
    Ok(ServicePort { name, port, transport, protocol, policy: policy.into() })
}

/// A port number that can be dialled.
pub(super) fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// What is wrong with a number that [`port_number`] refuses.
pub(super) fn not_a_port(number: i32) -> String {
    format!("{number} is not a port number: use 1 to 65535")
}

/// The transport of a `protocol` field.
pub(super) fn transport(protocol: Option<&str>) -> Result<Transport, String> {
    match protocol {
        None | Some("" | "TCP") => Ok(Transport::Tcp),
        Some("UDP") => Ok(Transport::Udp),
        Some("SCTP") => Ok(Transport::Sctp),
        Some(other) => Err(format!("{other:?} is unknown: write TCP, UDP or SCTP")),
    }
}

/// A declared `appProtocol` decides, also when it is one we do not know; without it the port's name does.
fn app_protocol(declared: Option<&str>, port_name: &str) -> AppProtocol {
    match declared.filter(|declared| !declared.is_empty()) {
        Some(declared) => match declared.to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => AppProtocol::Http1,
            "http2" | "h2c" | "kubernetes.io/h2c" => AppProtocol::Http2,
            "grpc" => AppProtocol::Grpc,
            "https" | "tls" | "kubernetes.io/wss" => AppProtocol::Tls,
            "tcp" => AppProtocol::Tcp,
            _ => AppProtocol::Detect,
        },
        None => match port_name.split_once('-').map_or(port_name, |(prefix, _)| prefix) {
            "http" => AppProtocol::Http1,
            "http2" => AppProtocol::Http2,
            "grpc" => AppProtocol::Grpc,
            "tls" | "https" => AppProtocol::Tls,
            "tcp" => AppProtocol::Tcp,
            _ => AppProtocol::Detect,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(declared: Option<&str>, name: &str, expected: AppProtocol) {
        assert_eq!(app_protocol(declared, name), expected, "{declared:?} {name:?}");
    }

    #[test]
    fn app_protocol_beats_the_port_name() {
        check(Some("grpc"), "http-web", AppProtocol::Grpc);
        check(Some("example.com/own"), "http", AppProtocol::Detect);
        check(Some(""), "http", AppProtocol::Http1);
        check(Some("TCP"), "", AppProtocol::Tcp);
    }

    #[test]
    fn a_prefix_ends_at_the_dash() {
        check(None, "http-web", AppProtocol::Http1);
        check(None, "http2", AppProtocol::Http2);
        check(None, "httpx", AppProtocol::Detect);
        check(None, "", AppProtocol::Detect);
        check(None, "-", AppProtocol::Detect);
    }
}

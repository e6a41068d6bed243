//! What a name asks for.

use std::net::IpAddr;

use super::reverse::address_of;
use crate::name::ServiceName;

/// The domain of a cluster, such as `cluster.local`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// `svc.` and the domain, in lower case, without dots around.
    services: String,
}

/// The kind of record that is asked for, as far as it makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Ports.
    Srv,
    /// Names of addresses.
    Ptr,
    /// The alias itself.
    Cname,
    /// Any other: there is none in the mesh, but the name may exist.
    Other,
}

/// A name, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// `svc.CLUSTER-DOMAIN`: exists, and holds nothing itself.
    AllServices,
    /// `NAMESPACE.svc.…`: the same, if the namespace exists.
    Namespace(String),
    /// A Service, or a part of it.
    Service(ServiceName, Part),
    /// An address.
    Address(IpAddr),
    /// Nothing that the mesh names things by.
    Foreign,
}

/// Which part of a Service is meant. All in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole.
    Whole,
    /// The pods of that hostname.
    Host(String),
    /// One port of it.
    Port {
        /// Without the underscore.
        name: String,
        /// The transport, without the underscore.
        protocol: String,
    },
}

impl Zone {
    /// The zone of a cluster domain, in any case, with or without dots around.
    pub fn new(cluster_domain: &str) -> Self {
        Self { services: format!("svc.{}", cluster_domain.trim_matches('.').to_ascii_lowercase()) }
    }

    /// The domain, in lower case, without dots around.
    pub fn domain(&self) -> &str {
        self.services.strip_prefix("svc.").unwrap_or_default()
    }

    /// The Service that a name is of, or of a part of.
    pub fn service_of(&self, name: &str) -> Option<ServiceName> {
        match self.subject(name) {
            Subject::Service(service, _) => Some(service),
            Subject::AllServices | Subject::Namespace(_) | Subject::Address(_) | Subject::Foreign => None,
        }
    }

    /// Whether a name is one of Services, known or not: what the mesh can speak of when nobody else answers.
    pub fn contains(&self, name: &str) -> bool {
        let name = normal(name);
        name.strip_suffix(&self.services).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The name of a Service.
    pub(super) fn name_of(&self, service: &ServiceName) -> String {
        format!("{}.{}.{}", service.name(), service.namespace(), self.services)
    }

    /// What a name means, in whatever case it is written, with or without a trailing dot.
    pub(super) fn subject(&self, name: &str) -> Subject {
        let name = normal(name);
        if let Some(address) = address_of(&name) {
            return Subject::Address(address);
        }
        if name == self.services {
            return Subject::AllServices;
        }
        let Some(inside) = name.strip_suffix(&self.services).and_then(|rest| rest.strip_suffix('.')) else {
            return Subject::Foreign;
        };
        let labels: Vec<&str> = inside.split('.').collect();
        let (service, part) = match *labels.as_slice() {
            [namespace] if !namespace.is_empty() => return Subject::Namespace(namespace.to_owned()),
            [service, namespace] => (ServiceName::new(namespace, service), Part::Whole),
            [host, service, namespace] => (ServiceName::new(namespace, service), Part::Host(host.to_owned())),
            [port, protocol, service, namespace] => match (port.strip_prefix('_'), protocol.strip_prefix('_')) {
                (Some(name), Some(protocol)) => {
                    let port = Part::Port { name: name.to_owned(), protocol: protocol.to_owned() };
                    (ServiceName::new(namespace, service), port)
                }
                _ => return Subject::Foreign,
            },
            _ => return Subject::Foreign,
        };
        service.map_or(Subject::Foreign, |service| Subject::Service(service, part))
    }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{Part, Subject, Zone};

    #[track_caller]
    fn check(name: &str, expected: &Subject) {
        assert_eq!(Zone::new(".Cluster.Local.").subject(name), *expected, "{name}");
    }

    fn service(part: Part) -> Subject {
        Subject::Service("shop/web".parse().unwrap(), part)
    }

    #[test]
    fn row_33_names_are_understood_in_any_case_with_or_without_the_dot() {
        for name in ["web.shop.svc.cluster.local", "WEB.shop.SVC.cluster.LOCAL."] {
            check(name, &service(Part::Whole));
        }
        check("db-0.web.shop.svc.cluster.local", &service(Part::Host("db-0".into())));
        let port = Part::Port { name: "http".into(), protocol: "tcp".into() };
        check("_http._tcp.web.shop.svc.cluster.local", &service(port));
        check("shop.svc.cluster.local", &Subject::Namespace("shop".into()));
        check("svc.cluster.local.", &Subject::AllServices);
        check("1.0.96.10.in-addr.arpa.", &Subject::Address([10, 96, 0, 1].into()));
    }

    #[test]
    fn what_has_another_shape_is_foreign() {
        for name in [
            "",
            ".",
            "example.com",
            "cluster.local",
            "pod.cluster.local",
            "10-244-1-1.shop.pod.cluster.local",
            "web.shop",
            "web.shop.svc",
            "svc.cluster.local.example.com",
            "xsvc.cluster.local",
            ".svc.cluster.local",
            "..svc.cluster.local",
            "a.b.web.shop.svc.cluster.local",
            "_a.b.web.shop.svc.cluster.local",
            "x._http._tcp.web.shop.svc.cluster.local",
        ] {
            check(name, &Subject::Foreign);
        }
    }

    #[test]
    fn the_zone_knows_what_lies_in_it() {
        let zone = Zone::new("cluster.local");
        for name in ["svc.cluster.local", "a.b.c.d.e.svc.cluster.local.", "x.SVC.cluster.local"] {
            assert!(zone.contains(name), "{name}");
        }
        for name in ["cluster.local", "xsvc.cluster.local", "a.pod.cluster.local", "example.com"] {
            assert!(!zone.contains(name), "{name}");
        }
    }
}

//! The name of a Service: its namespace and its name within it.

use std::{fmt, str::FromStr, sync::Arc};

use crate::version::{Canonical, CanonicalWriter};

/// `namespace/name` of a Service. Cheap to clone, ordered by its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    text: Arc<str>,
}

/// Why a text is not the name of a Service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a Service name: expected NAMESPACE/NAME, both non-empty and without a further '/'")]
pub struct InvalidServiceName {
    text: String,
}

impl ServiceName {
    /// Joins a namespace and a name.
    ///
    /// # Errors
    /// When either is empty or contains a `/`. What else makes a valid Kubernetes name is the API server's business.
    pub fn new(namespace: &str, name: &str) -> Result<Self, InvalidServiceName> {
        format!("{namespace}/{name}").parse()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.text.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    /// The name within its namespace.
    pub fn name(&self) -> &str {
        self.text.split_once('/').map_or("", |(_, name)| name)
    }

    /// `namespace/name`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { text: text.into() })
            }
            _ => Err(InvalidServiceName { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Canonical for ServiceName {
    fn write(&self, writer: &mut CanonicalWriter) {
        writer.text(&self.text);
    }
}

/// The Services that `host` may mean, in the forms that a pod's resolver understands.
///
/// `svc`, `svc.ns`, `svc.ns.svc` and `svc.ns.svc.CLUSTER_DOMAIN`, in any case, with or without a trailing dot. A bare
/// name is looked up in `own_namespace`. Returns `None` for a host that has none of these forms, an IP address
/// included; whether the Service exists is for the caller to look up.
pub fn service_of_host(host: &str, own_namespace: &str, cluster_domain: &str) -> Option<ServiceName> {
    // An IPv6 address has no dots either, but it is no bare name.
    if host.contains(':') {
        return None;
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let domain = cluster_domain.trim_matches('.').to_ascii_lowercase();
    let short = match host.strip_suffix(&domain).and_then(|rest| rest.strip_suffix('.')) {
        Some(in_cluster) if !domain.is_empty() => {
            // Only `svc` names live under the cluster domain here; `svc.ns.cluster.local` means nothing.
            in_cluster.strip_suffix(".svc")?
        }
        _ => host.strip_suffix(".svc").filter(|rest| rest.contains('.')).unwrap_or(&host),
    };
    let mut labels = short.split('.');
    let (name, namespace) = match (labels.next(), labels.next(), labels.next()) {
        (Some(name), None, _) if short.len() == host.len() => (name, own_namespace),
        (Some(name), Some(namespace), None) => (name, namespace),
        _ => return None,
    };
    ServiceName::new(namespace, name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, expected: Option<&str>) {
        let found = service_of_host(host, "default", "cluster.local");
        assert_eq!(found.as_ref().map(ServiceName::as_str), expected, "{host}");
    }

    #[test]
    fn row_33_every_name_form_means_the_service() {
        for host in ["web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "WEB.Shop.SVC.Cluster.Local."] {
            check(host, Some("shop/web"));
        }
        check("web", Some("default/web"));
        check("web.", Some("default/web"));
    }

    #[test]
    fn foreign_hosts_mean_no_service() {
        for host in
            ["example.com.", "a.b.c", "web.shop.cluster.local", "x.web.shop.svc.cluster.local", "", ".", "svc.", "::1"]
        {
            let found = service_of_host(host, "default", "cluster.local");
            // Two labels always look like `svc.ns`; they are told apart by whether that Service exists.
            let expected = match host {
                "example.com." => Some("com/example"),
                "svc." => Some("default/svc"),
                _ => None,
            };
            assert_eq!(found.as_ref().map(ServiceName::as_str), expected, "{host}");
        }
    }

    #[test]
    fn a_name_is_two_non_empty_parts() {
        for text in ["", "/", "a", "a/", "/b", "a/b/c"] {
            assert!(text.parse::<ServiceName>().is_err(), "{text}");
        }
        let name: ServiceName = "shop/web".parse().unwrap();
        assert_eq!((name.namespace(), name.name()), ("shop", "web"));
    }
}

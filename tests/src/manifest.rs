//! Services as Kubernetes objects.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// A Service with its EndpointSlices: one slice per endpoint, so that each may have a port of its own.
#[derive(Clone)]
pub struct Service {
    namespace: String,
    name: String,
    spec: Value,
    annotations: Value,
    endpoints: Vec<EndpointManifest>,
}

/// One endpoint of a slice.
#[derive(Clone)]
pub struct EndpointManifest {
    address: SocketAddr,
    port: String,
    body: Value,
}

impl From<SocketAddr> for EndpointManifest {
    fn from(address: SocketAddr) -> Self {
        let body = json!({ "addresses": [address.ip()], "conditions": { "ready": true } });
        Self { address, port: "http".to_owned(), body }
    }
}

impl From<&crate::Backend> for EndpointManifest {
    fn from(backend: &crate::Backend) -> Self {
        backend.address().into()
    }
}

impl From<&crate::Scripted> for EndpointManifest {
    fn from(backend: &crate::Scripted) -> Self {
        backend.address().into()
    }
}

impl From<&crate::Http2Backend> for EndpointManifest {
    fn from(backend: &crate::Http2Backend) -> Self {
        backend.address().into()
    }
}

impl EndpointManifest {
    /// On this node.
    #[must_use]
    pub fn node(mut self, node: &str) -> Self {
        self.body["nodeName"] = node.into();
        self
    }

    /// Meant for clients in this zone.
    #[must_use]
    pub fn for_zone(mut self, zone: &str) -> Self {
        self.body["zone"] = zone.into();
        self.body["hints"]["forZones"] = json!([{ "name": zone }]);
        self
    }

    /// Called so within its headless Service; nothing for no name.
    #[must_use]
    pub fn hostname(mut self, hostname: &str) -> Self {
        if !hostname.is_empty() {
            self.body["hostname"] = hostname.into();
        }
        self
    }

    /// Told to end, and still serving.
    #[must_use]
    pub fn terminating(mut self) -> Self {
        self.body["conditions"] = json!({ "ready": false, "serving": true, "terminating": true });
        self
    }

    /// Behind the Service port of this name.
    #[must_use]
    pub fn port(mut self, name: &str) -> Self {
        name.clone_into(&mut self.port);
        self
    }
}

impl Service {
    /// `NAME` in the namespace `default`, or `NAMESPACE/NAME`; port 80, named `http`.
    pub fn new(name: &str) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            spec: json!({ "ports": [{ "name": "http", "port": 80 }] }),
            annotations: json!({}),
            endpoints: Vec::new(),
        }
    }

    /// An alias of a host.
    pub fn external(name: &str, target: &str) -> Self {
        let mut service = Self::new(name);
        service.spec = json!({ "type": "ExternalName", "externalName": target });
        service
    }

    /// Gives it a virtual address; the first one is the primary.
    #[must_use]
    pub fn vip(mut self, vip: impl Into<IpAddr>) -> Self {
        let vip = vip.into();
        if self.spec.get("clusterIPs").is_none() {
            self.spec["clusterIP"] = json!(vip);
            self.spec["clusterIPs"] = json!([]);
        }
        if let Some(vips) = self.spec["clusterIPs"].as_array_mut() {
            vips.push(json!(vip));
        }
        self
    }

    /// Without a virtual address: its name stands for its pods.
    #[must_use]
    pub fn headless(mut self) -> Self {
        self.spec["clusterIP"] = "None".into();
        self
    }

    /// Declares one more port.
    #[must_use]
    pub fn port(mut self, name: &str, number: u16) -> Self {
        if let Some(ports) = self.spec["ports"].as_array_mut() {
            ports.push(json!({ "name": name, "port": number }));
        }
        self
    }

    /// Declares what is spoken on the port that was declared last.
    #[must_use]
    pub fn app_protocol(mut self, protocol: &str) -> Self {
        if let Some(port) = self.spec["ports"].as_array_mut().and_then(|ports| ports.last_mut()) {
            port["appProtocol"] = protocol.into();
        }
        self
    }

    /// Takes back what the name of its first port says of the protocol. To be said after the endpoints.
    #[must_use]
    pub fn undeclared(mut self) -> Self {
        self.spec["ports"][0]["name"] = "any".into();
        self.endpoints
            .iter_mut()
            .filter(|endpoint| endpoint.port == "http")
            .for_each(|e| "any".clone_into(&mut e.port));
        self
    }

    /// Chooses a policy by annotation.
    #[must_use]
    pub fn policy(mut self, policy: &str) -> Self {
        self.annotations["wasmesh.io/policy"] = policy.into();
        self
    }

    /// `sessionAffinity: ClientIP`, for so many seconds.
    #[must_use]
    pub fn affinity(mut self, seconds: u32) -> Self {
        self.spec["sessionAffinity"] = "ClientIP".into();
        self.spec["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": seconds } });
        self
    }

    /// `internalTrafficPolicy: Local`.
    #[must_use]
    pub fn local(mut self) -> Self {
        self.spec["internalTrafficPolicy"] = "Local".into();
        self
    }

    /// Adds an endpoint.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<EndpointManifest>) -> Self {
        self.endpoints.push(endpoint.into());
        self
    }

    /// Adds endpoints.
    #[must_use]
    pub fn endpoints<E: Into<EndpointManifest>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// `NAMESPACE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(crate) fn objects(&self) -> Vec<Value> {
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": self.name, "namespace": self.namespace, "annotations": self.annotations },
            "spec": self.spec,
        });
        [service].into_iter().chain(self.endpoints.iter().map(|endpoint| self.slice(endpoint))).collect()
    }

    fn slice(&self, endpoint: &EndpointManifest) -> Value {
        let family = if endpoint.address.is_ipv4() { "IPv4" } else { "IPv6" };
        let place = endpoint.address.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{}-{}-{place}", self.name, endpoint.port),
                "namespace": self.namespace,
                "labels": { "kubernetes.io/service-name": self.name },
            },
            "addressType": family,
            "ports": [{ "name": endpoint.port, "port": endpoint.address.port(), "protocol": "TCP" }],
            "endpoints": [endpoint.body],
        })
    }
}

//! Services of every kind, to be asked for by their names.

use serde_json::{Value, json};

use super::ApiServer;
use crate::{Folder, eventually};

/// A namespace with such Services, their pods and their slices.
pub struct Named<'a> {
    server: &'a ApiServer,
    namespace: &'a str,
}

impl<'a> Named<'a> {
    /// Makes them, and waits until the controllers have done their part.
    ///
    /// # Panics
    /// When the API server does not take them.
    #[track_caller]
    pub fn make(server: &'a ApiServer, namespace: &'a str) -> Self {
        objects(server, namespace);
        let named = Self { server, namespace };
        eventually("the controller has written the slices", || {
            let list: Value = serde_json::from_str(&named.list("endpointslices")).expect("a list");
            let slices = list["items"].as_array().expect("slices");
            // How many addresses a Service has in a family, ready or not.
            let count = |service: &str, family: &str| {
                let of = slices.iter().filter(|slice| {
                    slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
                        && slice["addressType"] == family
                });
                of.map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).sum::<usize>()
            };
            let both = |service, pods| ["IPv4", "IPv6"].iter().all(|family| count(service, family) == pods);
            (both("web", 1) && both("db", 4) && count("bare", "IPv4") == 4).then_some(())
        });
        named
    }

    /// Writes them as the API server has them, for a control plane that reads a folder.
    pub fn write_to(&self, folder: &Folder) {
        folder.write("services.yaml", &self.list("services"));
        folder.write("slices.yaml", &self.list("endpointslices"));
    }

    /// Everything that a resolver might ask of these, and much that it would not.
    pub fn names(&self) -> Vec<String> {
        names(self.server, self.namespace)
    }

    fn list(&self, kind: &str) -> String {
        let listed = self.server.kubectl(&["--namespace", self.namespace, "get", kind, "--output=json"], "");
        serde_json::from_str::<Value>(&listed).expect("a list").to_string()
    }
}

fn objects(server: &ApiServer, namespace: &str) {
    server.node("dns-node", None);
    let service = |name: &str, spec: Value| {
        let metadata = json!({ "name": name, "namespace": namespace });
        server.apply(&json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }).to_string());
    };
    let ports = json!([
        { "name": "http", "port": 80, "targetPort": 8080 },
        { "name": "dns", "port": 53, "protocol": "UDP" },
        { "name": "dns-tcp", "port": 53, "protocol": "TCP" },
    ]);
    let both = "RequireDualStack";
    service("web", json!({ "selector": { "app": "web" }, "ports": ports, "ipFamilyPolicy": both }));
    service("v4", json!({ "selector": { "app": "none" }, "ports": [{ "port": 80 }] }));
    service("v6", json!({ "ports": [{ "name": "http", "port": 80 }], "ipFamilies": ["IPv6"] }));
    service("node", json!({ "type": "NodePort", "ports": [{ "name": "http", "port": 80 }] }));
    service("db", json!({ "clusterIP": "None", "selector": { "app": "db" }, "ports": ports, "ipFamilyPolicy": both }));
    service(
        "empty",
        json!({ "clusterIP": "None", "selector": { "app": "none" }, "ports": [{ "name": "http", "port": 80 }] }),
    );
    service("manual", json!({ "clusterIP": "None", "ports": [{ "name": "http", "port": 80 }] }));
    service("bare", json!({ "clusterIP": "None", "selector": { "app": "db" } }));
    service("out", json!({ "type": "ExternalName", "externalName": "example.com" }));
    service("alias", json!({ "type": "ExternalName", "externalName": "alias.example" }));
    service("in", json!({ "type": "ExternalName", "externalName": format!("web.{namespace}.svc.cluster.local") }));
    service("in-in", json!({ "type": "ExternalName", "externalName": format!("in.{namespace}.svc.cluster.local") }));

    for (name, app, subdomain, ips, ready) in [
        ("web-1", "web", None, ["10.244.21.1", "fd00:10:244::21:1"], true),
        ("db-0", "db", Some("db"), ["10.244.21.2", "fd00:10:244::21:2"], true),
        ("db-1", "db", Some("db"), ["10.244.21.3", "fd00:10:244::21:3"], true),
        ("db-2", "db", Some("db"), ["10.244.21.4", "fd00:10:244::21:4"], false),
        ("db-x", "db", None, ["10.244.21.5", "fd00:10:244::21:5"], true),
    ] {
        let mut spec = json!({
            "nodeName": "dns-node",
            "containers": [{ "name": "app", "image": "none", "ports": [{ "name": "http", "containerPort": 8080 }] }],
        });
        if let Some(subdomain) = subdomain {
            spec["hostname"] = name.into();
            spec["subdomain"] = subdomain.into();
        }
        let metadata = json!({ "name": name, "namespace": namespace, "labels": { "app": app } });
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec });
        server.kubectl(&["create", "--filename", "-"], &pod.to_string());
        server.report(namespace, name, &ips, ready);
    }
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "manual-1", "namespace": namespace, "labels": { "kubernetes.io/service-name": "manual" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 7000 }],
        "endpoints": [
            { "addresses": ["192.0.2.31"], "hostname": "one" },
            { "addresses": ["192.0.2.32"], "hostname": "Two".to_lowercase() },
            { "addresses": ["192.0.2.33"] },
            { "addresses": ["192.0.2.34"], "conditions": { "ready": false } },
        ],
    });
    server.apply(&slice.to_string());
}

fn names(server: &ApiServer, namespace: &str) -> Vec<String> {
    let services =
        ["web", "v4", "v6", "node", "db", "empty", "manual", "bare", "out", "alias", "in", "in-in", "unknown"];
    let mut names = Vec::new();
    for service in services {
        let parts = ["", "_http._tcp.", "_dns._udp.", "_dns._tcp.", "_no._tcp.", "no."];
        names.extend(parts.map(|part| format!("{part}{service}.{namespace}.svc.cluster.local.")));
    }
    for host in ["db-0", "db-1", "db-2", "db-x", "10-244-21-5", "fd00-10-244--21-5", "10-244-21-2"] {
        names.push(format!("{host}.db.{namespace}.svc.cluster.local."));
    }
    for host in ["one", "TWO", "192-0-2-33", "192-0-2-34"] {
        names.push(format!("{host}.manual.{namespace}.svc.cluster.local."));
    }
    names.push(format!("10-244-21-1.web.{namespace}.svc.cluster.local."));
    names.push(format!("WEB.{namespace}.Svc.Cluster.Local."));
    names.push(format!("{namespace}.svc.cluster.local."));
    names.push("no-such-namespace.svc.cluster.local.".to_owned());
    names.push("svc.cluster.local.".to_owned());
    names.push(format!("web.{namespace}.pod.cluster.local."));
    names.push(format!("example.com.{namespace}.svc.cluster.local."));
    names.push("example.com.".to_owned());
    names.push("nothing.example.".to_owned());
    let vips = server.kubectl(
        &["--namespace", namespace, "get", "services", "--output=jsonpath={.items[*].spec.clusterIPs[*]}"],
        "",
    );
    let pods = ["10.244.21.2", "fd00:10:244::21:3", "192.0.2.31", "192.0.2.77"];
    for ip in vips.split_whitespace().filter(|ip| *ip != "None").chain(pods) {
        names.push(hickory_proto::rr::Name::from(ip.parse::<std::net::IpAddr>().expect("an address")).to_ascii());
    }
    names
}

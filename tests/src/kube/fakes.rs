//! Nodes and pods that are said to be: what a kubelet would report is written by the test.

use serde_json::{Value, json};

use super::ApiServer;

/// A pod that is said to run.
#[derive(Debug, Clone)]
pub struct FakePod<'a> {
    /// Where it is.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The node it is said to be on; see [`ApiServer::node`].
    pub node: &'a str,
    /// Its labels.
    pub labels: &'a [(&'a str, &'a str)],
    /// Its annotations.
    pub annotations: &'a [(&'a str, &'a str)],
    /// Its addresses, the first of each family. None of loopback: EndpointSlices take none.
    pub ips: &'a [&'a str],
    /// The ports of its only container, by name.
    pub ports: &'a [(&'a str, u16)],
}

impl ApiServer {
    /// Makes a node, in this zone if it has one, or gives the one there is another zone. Pods without their node are taken
    /// away by controllers.
    #[track_caller]
    pub fn node(&self, name: &str, zone: Option<&str>) {
        let labels = zone.map_or(json!({}), |zone| json!({ "topology.kubernetes.io/zone": zone }));
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels } });
        self.apply(&node.to_string());
    }

    /// Makes a pod, and says that it runs and is ready.
    #[track_caller]
    pub fn pod(&self, pod: &FakePod<'_>) {
        self.kubectl(&["create", "--filename", "-"], &pod.object().to_string());
        self.report(pod.namespace, pod.name, pod.ips, true);
    }

    /// Says of a pod, made by whomever, that it runs at these addresses, and whether it is ready.
    #[track_caller]
    pub fn report(&self, namespace: &str, pod: &str, ips: &[&str], ready: bool) {
        let patch = status(ips, ready).to_string();
        self.kubectl(
            &["--namespace", namespace, "patch", "pod", pod, "--subresource=status", "--type=merge", "--patch", &patch],
            "",
        );
    }
}

impl FakePod<'_> {
    fn object(&self) -> Value {
        let map = |pairs: &[(&str, &str)]| -> Value { pairs.iter().map(|(key, value)| (*key, json!(value))).collect() };
        let ports: Vec<_> =
            self.ports.iter().map(|(name, port)| json!({ "name": name, "containerPort": port })).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "namespace": self.namespace,
                "name": self.name,
                "labels": map(self.labels),
                "annotations": map(self.annotations),
            },
            "spec": {
                "nodeName": self.node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "app", "image": "none", "ports": ports }],
            },
        })
    }
}

/// Pure.
fn status(ips: &[&str], ready: bool) -> Value {
    let ips: Vec<_> = ips.iter().map(|ip| json!({ "ip": ip })).collect();
    let truth = if ready { "True" } else { "False" };
    let conditions = ["Ready", "ContainersReady"].map(|kind| json!({ "type": kind, "status": truth }));
    json!({ "status": {
        "phase": "Running",
        "podIP": ips.first().map(|first| first["ip"].clone()),
        "podIPs": ips,
        "conditions": conditions,
    }})
}

//! Pods whose admin servers can be asked.

use std::{fmt, str::FromStr};

use anyhow::{Context, anyhow, bail};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::{Api, api::ListParams};

use super::{Cluster, SYSTEM, explain};

/// The container with the sidecar.
const PROXY: &str = "wasmesh-proxy";
/// What the replicas of the control plane are labelled.
const CONTROL_PLANE: &str = "app.kubernetes.io/name=wasmesh-control-plane";

/// A pod as people name it: `NAME` or `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodRef {
    namespace: Option<String>,
    name: String,
}

impl FromStr for PodRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (None, text),
        };
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
        if namespace.as_deref().is_none_or(is_name) && is_name(name) {
            Ok(Self { namespace, name: name.to_owned() })
        } else {
            Err("expected NAME or NAMESPACE/NAME of a pod".to_owned())
        }
    }
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Cluster {
    /// The namespace and the name of a pod that has a sidecar which runs.
    pub(crate) fn meshed_pod(&self, pod: &PodRef) -> anyhow::Result<(String, String)> {
        let namespace = pod.namespace.as_deref().unwrap_or(&self.namespace);
        let found = self.wait(Api::<Pod>::namespaced(self.client.clone(), namespace).get_opt(&pod.name));
        let found =
            found.map_err(|error| anyhow!("cannot look at pod {namespace}/{}: {}", pod.name, explain(&error)))?;
        let found = found.with_context(|| {
            format!(
                "there is no pod {} in the namespace {namespace}; name it as NAMESPACE/NAME if it is elsewhere",
                pod.name
            )
        })?;
        if !found.spec.as_ref().is_some_and(|spec| containers(spec).any(|container| container.name == PROXY)) {
            bail!(
                "pod {namespace}/{} has no sidecar: it gets one when it is made, in a namespace with the label \
                 wasmesh.io/inject=enabled (see `wasmesh check`)",
                pod.name
            );
        }
        Ok((namespace.to_owned(), pod.name.clone()))
    }

    /// The names of the control plane's replicas that are ready.
    pub(crate) fn replicas(&self) -> anyhow::Result<Vec<String>> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), SYSTEM);
        let listed = self.wait(pods.list(&ListParams::default().labels(CONTROL_PLANE)));
        let listed = listed.map_err(|error| anyhow!("cannot list the pods of {SYSTEM}: {}", explain(&error)))?;
        let ready = listed.items.into_iter().filter(is_ready);
        let mut names: Vec<_> = ready.filter_map(|pod| pod.metadata.name).collect();
        names.sort();
        if names.is_empty() {
            bail!("no replica of the control plane is ready in the namespace {SYSTEM}; see `wasmesh check`");
        }
        Ok(names)
    }
}

/// All containers, in the order in which they are declared.
pub(crate) fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The container with the sidecar, if there is one.
pub(crate) fn sidecar(pod: &Pod) -> Option<&Container> {
    containers(pod.spec.as_ref()?).find(|container| container.name == PROXY)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True");
    is_ready && pod.metadata.deletion_timestamp.is_none()
}

#[cfg(test)]
mod tests {
    use super::PodRef;

    #[test]
    fn pods_are_named_with_or_without_their_namespace() {
        let check = |text: &str, expected: Option<(Option<&str>, &str)>| {
            let parsed = text.parse::<PodRef>().ok();
            let parsed = parsed.as_ref().map(|pod| (pod.namespace.as_deref(), pod.name.as_str()));
            assert_eq!(parsed, expected, "{text:?}");
        };
        check("web-1", Some((None, "web-1")));
        check("shop/web-1", Some((Some("shop"), "web-1")));
        for wrong in ["", "/", "/web", "shop/", "a/b/c", "a b", "deploy/../x"] {
            check(wrong, None);
        }
    }
}

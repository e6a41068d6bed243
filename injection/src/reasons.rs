//! Why a pod is left alone, or refused.

use serde_json::Value;

use crate::{
    names::{
        ADMIN_PORT, CAPTURE_CONTAINER, DISABLED, HTTP_PROXY_PORT, INJECT_LABEL, INJECTED_ANNOTATION, OUTBOUND_PORT,
        PROXY_CONTAINER, PROXY_UID, SOCKET_VOLUME, TOKEN_VOLUME,
    },
    pod::{Pod, name},
};

/// Why a pod stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Leave {
    /// Nobody asks for it.
    #[error("neither its label nor its namespace's asks for the mesh")]
    NotWanted,
    /// It is meshed.
    #[error("it is in the mesh already")]
    AlreadyInjected,
    /// It shares the node's network.
    #[error("it uses the node's network (hostNetwork), where capturing its connections would capture the whole node's")]
    HostNetwork,
    /// It runs on Windows.
    #[error("it runs on Windows, for which there is no sidecar")]
    Windows,
    /// The kubelet's image of a static pod.
    #[error("it is a static pod, which the kubelet reads from a file of its node")]
    Static,
    /// Another mesh is there.
    #[error("it has the sidecar of {0}: two meshes in one pod would capture each other's connections")]
    OtherMesh(&'static str),
    /// Its own ports are those of the sidecar.
    #[error("its container {container:?} uses port {port}, which the sidecar needs")]
    PortTaken {
        /// Which container.
        container: String,
        /// Which port.
        port: u16,
    },
    /// There is nobody to serve.
    #[error("it has no containers")]
    NoContainers,
    /// Kubernetes will not take it either.
    #[error("what is at {0:?} has not the shape of a pod")]
    Malformed(&'static str),
}

impl Leave {
    /// One word, for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWanted => "not-wanted",
            Self::AlreadyInjected => "already-injected",
            Self::HostNetwork => "host-network",
            Self::Windows => "windows",
            Self::Static => "static-pod",
            Self::OtherMesh(_) => "other-mesh",
            Self::PortTaken { .. } => "port-taken",
            Self::NoContainers => "no-containers",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Whether whoever made the pod may have expected something else, and should be told.
    #[must_use]
    pub fn is_surprising(&self) -> bool {
        !matches!(self, Self::NotWanted | Self::AlreadyInjected)
    }
}

/// Why a pod must not run like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refuse {
    /// Its connections would be taken for the proxy's.
    #[error(
        "container {0:?} runs as user {PROXY_UID}, which is the mesh's proxy: its connections would never be balanced. Choose \
         another runAsUser, or set the pod's label {INJECT_LABEL} to {DISABLED}"
    )]
    ProxyUser(String),
    /// Something of ours is there, and is not ours.
    #[error(
        "its {what} {name:?} has a name that the mesh needs. Choose another name, or set the pod's label {INJECT_LABEL} to \
         {DISABLED}"
    )]
    NameTaken {
        /// A container or a volume.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

impl Refuse {
    /// One word, for counting.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ProxyUser(_) => "proxy-user",
            Self::NameTaken { .. } => "name-taken",
        }
    }
}

/// By the container that another mesh adds.
const MESHES: [(&str, &str); 8] = [
    ("istio-proxy", "Istio"),
    ("linkerd-proxy", "Linkerd"),
    ("kuma-sidecar", "Kuma"),
    ("consul-dataplane", "Consul"),
    ("consul-connect-envoy-sidecar", "Consul"),
    ("envoy-sidecar", "another mesh"),
    ("osm-envoy-bootstrap", "Open Service Mesh"),
    ("aws-appmesh-envoy", "App Mesh"),
];

/// By the annotation that another mesh leaves, or that takes a pod into a mesh without sidecars.
const MESH_ANNOTATIONS: [(&str, &str); 5] = [
    ("sidecar.istio.io/status", "Istio"),
    ("ambient.istio.io/redirection", "Istio (ambient)"),
    ("linkerd.io/proxy-version", "Linkerd"),
    ("kuma.io/sidecar-injected", "Kuma"),
    ("consul.hashicorp.com/connect-inject-status", "Consul"),
];

/// Why it is to be left alone, if it is.
pub(crate) fn leave(pod: &Pod<'_>) -> Option<Leave> {
    let has = |wanted: &str| pod.containers().any(|container| name(container) == wanted);
    if pod.annotation(INJECTED_ANNOTATION).is_some() && has(PROXY_CONTAINER) {
        return Some(Leave::AlreadyInjected);
    }
    if pod.is_true("/spec/hostNetwork") {
        return Some(Leave::HostNetwork);
    }
    let os = [pod.text("/spec/os/name"), pod.text("/spec/nodeSelector/kubernetes.io~1os")];
    if os.contains(&Some("windows")) {
        return Some(Leave::Windows);
    }
    if pod.annotation("kubernetes.io/config.mirror").is_some() {
        return Some(Leave::Static);
    }
    let by_container = MESHES.iter().find(|(container, _)| has(container));
    let by_annotation = || MESH_ANNOTATIONS.iter().find(|(annotation, _)| pod.annotation(annotation).is_some());
    if let Some((_, mesh)) = by_container.or_else(by_annotation) {
        return Some(Leave::OtherMesh(mesh));
    }
    pod.containers().find_map(taken_port)
}

/// Why it is to be refused, if it is.
pub(crate) fn refuse(pod: &Pod<'_>) -> Option<Refuse> {
    let as_proxy = pod.containers().find(|container| pod.user_of(container) == Some(PROXY_UID));
    if let Some(container) = as_proxy {
        return Some(Refuse::ProxyUser(name(container).to_owned()));
    }
    let taken = |what, mut items: Box<dyn Iterator<Item = &Value>>, ours: [&str; 2]| {
        let found = items.find(|item| ours.contains(&name(item)))?;
        Some(Refuse::NameTaken { what, name: name(found).to_owned() })
    };
    taken("container", Box::new(pod.containers()), [PROXY_CONTAINER, CAPTURE_CONTAINER])
        .or_else(|| taken("volume", Box::new(pod.list("/spec/volumes")), [SOCKET_VOLUME, TOKEN_VOLUME]))
}

fn taken_port(container: &Value) -> Option<Leave> {
    let ports = container.get("ports")?.as_array()?;
    let ours = [OUTBOUND_PORT, HTTP_PROXY_PORT, ADMIN_PORT];
    let number =
        |port: &Value| port.get("containerPort").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let is_tcp = |port: &Value| port.get("protocol").and_then(Value::as_str).is_none_or(|protocol| protocol == "TCP");
    let taken = ports.iter().filter(|port| is_tcp(port)).filter_map(number).find(|port| ours.contains(port))?;
    Some(Leave::PortTaken { container: name(container).to_owned(), port: taken })
}

//! What is added to a pod.

use serde_json::{Value, json};
use wasmesh_core::capture::{Plan, PlanSpec, Tracking};

use crate::{
    Resources, Settings, Sidecar,
    annotations::Wishes,
    facts::{Facts, PodSecurity},
    names::{
        ADMIN_PORT, CA_BUNDLE_VARIABLE, CAPTURE_CONTAINER, DNS_PORT, HTTP_PROXY_PORT, INJECTED_ANNOTATION,
        METRICS_PORT_NAME, OUTBOUND_PORT, POD_SECURITY_LABEL, PROXY_CONTAINER, PROXY_UID, SOCKET_VOLUME,
        TOKEN_AUDIENCE, TOKEN_FOLDER, TOKEN_VOLUME,
    },
    patch::Builder,
    pod::Pod,
};

const SOCKET_FOLDER: &str = "/run/wasmesh";
const ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const SOCKET: &str = "/run/wasmesh/capture.sock";
/// What is there as soon as the application may start.
const READY_FILE: &str = "/run/wasmesh/captured";
/// The entry point of the sidecars' image.
const BINARY: &str = "/wasmesh-proxy";

/// How long a token lasts; the kubelet replaces it when four fifths of that are over.
const TOKEN_SECONDS: u32 = 3600;

/// How often, a second apart, the proxy may say that it is not ready before it is started again. It says ready by itself
/// ten seconds after its start, whether or not a control plane answers.
const STARTUP_PROBES: u32 = 60;

/// Whether and how the pod's connections are led to the proxy.
pub(crate) enum Capture {
    /// By rules of the kernel.
    Rules {
        /// Checked: the container that installs them will not fail for its arguments.
        plan: Plan,
        /// What the pod wishes.
        wishes: Wishes,
    },
    /// Only applications that know of the proxy use it.
    Explicit,
}

impl Capture {
    /// Capture, unless something forbids it; then that is said.
    pub(crate) fn plan(pod: &Pod<'_>, facts: &Facts, settings: &Settings, warnings: &mut Vec<String>) -> Self {
        let wishes = Wishes::of(pod, warnings);
        let forbidden = match &facts.pod_security {
            PodSecurity::Allows => None,
            PodSecurity::Forbids(level) => {
                Some(format!("the namespace's label {POD_SECURITY_LABEL}: {level} forbids NET_ADMIN"))
            }
            PodSecurity::Unknown => Some("what the namespace allows cannot be found out at the moment".to_owned()),
        };
        let spec = PlanSpec {
            service_cidrs: settings.service_cidrs.clone(),
            include_cidrs: wishes.include_cidrs.clone(),
            exclude_cidrs: wishes.exclude_cidrs.clone(),
            exclude_ports: wishes.exclude_ports.clone(),
            resolvers: Vec::new(),
            outbound_port: OUTBOUND_PORT,
            dns_port: DNS_PORT,
            proxy_uid: PROXY_UID as u32,
            tracking: Tracking::default(),
        };
        let why = match (forbidden, Plan::new(&spec)) {
            (None, Ok(plan)) => return Self::Rules { plan, wishes },
            (Some(why), _) => why,
            (None, Err(_)) => {
                "the cluster's service ranges are not known (--service-cidr of the control plane)".to_owned()
            }
        };
        warnings.push(format!(
            "connections are not led to the sidecar: {why}. Applications use it with http_proxy=http://127.0.0.1:{HTTP_PROXY_PORT}"
        ));
        Self::Explicit
    }
}

/// Adds everything. `resources` is what the sidecars ask for, if they do.
pub(crate) fn add(patch: &mut Builder, capture: &Capture, resources: Option<&Resources>, settings: &Settings) {
    patch.member("/metadata/annotations", INJECTED_ANNOTATION, json!(settings.version));
    patch.last("/spec/volumes", token_volume());
    patch.last("/spec/volumes", json!({ "name": SOCKET_VOLUME, "emptyDir": { "sizeLimit": "1Mi" } }));
    let mut sidecars = vec![(Sidecar::Proxy, proxy(capture, settings))];
    if let Capture::Rules { wishes, .. } = capture {
        sidecars.push((Sidecar::Capture, capturer(wishes, settings)));
    }
    let with_resources = sidecars.into_iter().map(|(which, mut sidecar)| {
        if let Some(resources) = resources {
            sidecar["resources"] = resources.of(which).to_value();
        }
        sidecar
    });
    patch.first("/spec/initContainers", with_resources.collect());
}

fn token_volume() -> Value {
    let token = json!({ "audience": TOKEN_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token" });
    json!({ "name": TOKEN_VOLUME, "projected": { "sources": [{ "serviceAccountToken": token }] } })
}

fn proxy(capture: &Capture, settings: &Settings) -> Value {
    json!({
        "name": PROXY_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": proxy_arguments(capture, settings),
        "env": [
            from_field("POD_NAME", "metadata.name"),
            from_field("POD_NAMESPACE", "metadata.namespace"),
            from_field("POD_UID", "metadata.uid"),
            from_field("NODE_NAME", "spec.nodeName"),
            { "name": CA_BUNDLE_VARIABLE, "value": settings.ca_bundle },
        ],
        "ports": [{ "name": METRICS_PORT_NAME, "containerPort": ADMIN_PORT, "protocol": "TCP" }],
        // No readiness probe: a sidecar's readiness would be the pod's, and a proxy that has lost its control plane serves on.
        "startupProbe": {
            "httpGet": { "path": "/readyz", "port": ADMIN_PORT, "scheme": "HTTP" },
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": STARTUP_PROBES,
        },
        "securityContext": {
            "runAsUser": PROXY_UID,
            "runAsGroup": PROXY_UID,
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            { "name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true },
            { "name": SOCKET_VOLUME, "mountPath": SOCKET_FOLDER },
            no_account(),
        ],
    })
}

fn proxy_arguments(capture: &Capture, settings: &Settings) -> Vec<String> {
    let mut arguments = vec![
        "run".to_owned(),
        format!("--control-plane={}", settings.control_plane),
        format!("--token={TOKEN_FOLDER}/token"),
        "--name=$(POD_NAME)".to_owned(),
        "--namespace=$(POD_NAMESPACE)".to_owned(),
        "--node-name=$(NODE_NAME)".to_owned(),
        format!("--cluster-domain={}", settings.cluster_domain),
        format!("--http-proxy-listen=127.0.0.1:{HTTP_PROXY_PORT}"),
        format!("--admin-listen=[::]:{ADMIN_PORT}"),
    ];
    if let Capture::Rules { plan, wishes } = capture {
        arguments.push(format!("--capture-socket={SOCKET}"));
        if wishes.dns {
            // The families of the pod's name servers are known in the pod only; on a node without IPv6 the second is left out.
            arguments.extend(["127.0.0.1", "[::1]"].map(|loopback| format!("--dns-listen={loopback}:{DNS_PORT}")));
        }
        arguments.extend(plan.listeners().iter().map(|listener| format!("--outbound-listen={listener}")));
    }
    arguments
}

fn capturer(wishes: &Wishes, settings: &Settings) -> Value {
    let mut arguments: Vec<String> = ["capture", "run"].map(str::to_owned).into();
    arguments.extend([format!("--socket={SOCKET}"), format!("--ready-file={READY_FILE}")]);
    let mut list = |option: &str, items: Vec<String>| {
        if !items.is_empty() {
            arguments.push(format!("--{option}={}", items.join(",")));
        }
    };
    list("service-cidr", texts(&settings.service_cidrs));
    list("include-outbound-cidrs", texts(&wishes.include_cidrs));
    list("exclude-outbound-cidrs", texts(&wishes.exclude_cidrs));
    list("exclude-outbound-ports", texts(&wishes.exclude_ports));
    if wishes.dns {
        arguments.push("--dns".to_owned());
    }
    json!({
        "name": CAPTURE_CONTAINER,
        "image": settings.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": arguments,
        // The application must not open connections before they are captured: one that is kept would bypass the mesh for ever.
        "startupProbe": {
            "exec": { "command": [BINARY, "capture", "ready", format!("--ready-file={READY_FILE}")] },
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": STARTUP_PROBES,
        },
        // The older iptables wants to write a lock file, and nothing else here can be written.
        "env": [{ "name": "XTABLES_LOCKFILE", "value": format!("{SOCKET_FOLDER}/xtables.lock") }],
        // Kubernetes gives only root an effective capability.
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [{ "name": SOCKET_VOLUME, "mountPath": SOCKET_FOLDER }, no_account()],
    })
}

/// Nothing, where Kubernetes would otherwise mount the token with which the application speaks to the API server: it looks at
/// pods once more after they have been injected.
fn no_account() -> Value {
    json!({ "name": SOCKET_VOLUME, "mountPath": ACCOUNT_FOLDER, "subPath": "no-account", "readOnly": true })
}

fn from_field(name: &str, field: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": field } } })
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

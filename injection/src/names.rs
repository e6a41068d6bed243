//! Names that users and other parts of the mesh depend on.

/// On a namespace or a pod, whose word counts more: [`ENABLED`] or [`DISABLED`].
pub const INJECT_LABEL: &str = "wasmesh.io/inject";
/// Value of [`INJECT_LABEL`].
pub const ENABLED: &str = "enabled";
/// Value of [`INJECT_LABEL`].
pub const DISABLED: &str = "disabled";

/// On a pod that is meshed: by which version.
pub const INJECTED_ANNOTATION: &str = "wasmesh.io/injected";
/// Destination ports that are not captured, separated by commas.
pub const EXCLUDE_PORTS_ANNOTATION: &str = "wasmesh.io/exclude-outbound-ports";
/// Ranges that are not captured, separated by commas.
pub const EXCLUDE_CIDRS_ANNOTATION: &str = "wasmesh.io/exclude-outbound-cidrs";
/// Ranges that are captured beside those of Services, separated by commas.
pub const INCLUDE_CIDRS_ANNOTATION: &str = "wasmesh.io/include-outbound-cidrs";
/// Whether the pod's DNS goes through the proxy: [`ENABLED`] or [`DISABLED`], which is the default.
pub const CAPTURE_DNS_ANNOTATION: &str = "wasmesh.io/capture-dns";
/// What annotations begin with that say how much a sidecar asks for; [`crate::ResourceName`] is how they go on.
pub const RESOURCE_ANNOTATION_PREFIX: &str = "wasmesh.io/";

/// What a namespace demands of its pods; not ours.
pub const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// The container that carries the pod's traffic.
pub const PROXY_CONTAINER: &str = "wasmesh-proxy";
/// The container that leads traffic to it.
pub const CAPTURE_CONTAINER: &str = "wasmesh-capture";
/// The volume with the socket between them, and with nothing else.
pub const SOCKET_VOLUME: &str = "wasmesh-run";
/// The volume with the token that the proxy shows to the control plane.
pub const TOKEN_VOLUME: &str = "wasmesh-token";

/// The port on which the proxy answers probes and Prometheus.
pub const METRICS_PORT_NAME: &str = "wm-metrics";
/// Its number.
pub const ADMIN_PORT: u16 = 19020;
/// Where captured connections arrive.
pub const OUTBOUND_PORT: u16 = 19001;
/// Where applications that know of it find the HTTP proxy.
pub const HTTP_PROXY_PORT: u16 = 19002;
/// Where names are answered, for pods whose DNS is captured.
pub const DNS_PORT: u16 = 19053;

/// The user that the proxy runs as, and its group.
pub const PROXY_UID: i64 = 19000;

/// The Service of the control plane.
pub const CONTROL_PLANE_SERVICE: &str = "wasmesh-control-plane";
/// The port on which it serves proxies.
pub const DISCOVERY_PORT: u16 = 19010;

/// Where proxies find the control plane of the installation in this namespace. It is the whole name: a pod may have a search
/// list of its own.
#[must_use]
pub fn control_plane(namespace: &str, cluster_domain: &str) -> String {
    format!("https://{CONTROL_PLANE_SERVICE}.{namespace}.svc.{cluster_domain}:{DISCOVERY_PORT}")
}

/// Whom the proxy's token is for.
pub const TOKEN_AUDIENCE: &str = "wasmesh";
/// The folder of the proxy's token.
pub const TOKEN_FOLDER: &str = "/var/run/secrets/wasmesh.io/token";
/// The variable with the certificates that the proxy trusts.
pub const CA_BUNDLE_VARIABLE: &str = "WASMESH_CA_BUNDLE";

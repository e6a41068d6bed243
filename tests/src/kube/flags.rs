//! What etcd, the API server and the controllers are started with. Pure.

use std::{net::Ipv4Addr, path::Path};

use super::{
    node::NODE_V4,
    pki::{Identity, Pki},
};

/// Where the API server listens.
pub(super) const API_PORT: u16 = 6443;

const ETCD_PORT: u16 = 2379;
const ETCD_PEER_PORT: u16 = 2380;
const CONTROLLERS_PORT: u16 = 10257;

/// What ClusterIPs are made of.
const SERVICE_RANGES: &str = "10.96.0.0/16,fd00:10:96::/112";

/// Nobody renews the leases of nodes that do not exist; these would evict their pods.
const WITHOUT_NODES: &str = "*,-node-lifecycle-controller,-taint-eviction-controller,-pod-garbage-collector-controller";

/// Not synced to the disk: nobody needs the data after a crash of the machine.
pub(super) fn etcd(ip: Ipv4Addr, data: &Path) -> Vec<String> {
    let (clients, peers) = (format!("http://{ip}:{ETCD_PORT}"), format!("http://{ip}:{ETCD_PEER_PORT}"));
    let flags = [
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    flags.into()
}

/// The flags of the API server that have nothing to do with where it is.
pub(super) fn api_server(ip: Ipv4Addr, pki: &Pki, serving: &Identity, admission: &Path) -> Vec<String> {
    let flags = [
        format!("--etcd-servers=http://{ip}:{ETCD_PORT}"),
        format!("--secure-port={API_PORT}"),
        format!("--tls-cert-file={}", serving.certificate.display()),
        format!("--tls-private-key-file={}", serving.key.display()),
        format!("--client-ca-file={}", pki.ca.display()),
        format!("--service-account-key-file={}", pki.accounts_public.display()),
        format!("--service-account-signing-key-file={}", pki.accounts_key.display()),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        // Beside the default ones, among them PodSecurity and both kinds of webhooks.
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        format!("--admission-control-config-file={}", admission.display()),
        format!("--service-cluster-ip-range={SERVICE_RANGES}"),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
    ];
    flags.into()
}

/// Alone on an address of loopback. `ways` is the configuration of its way to Services, see [`super::ways`].
pub(super) fn api_server_alone(ip: Ipv4Addr, ways: &Path) -> Vec<String> {
    let flags = [
        format!("--bind-address={ip}"),
        format!("--advertise-address={ip}"),
        // Endpoints on loopback are refused, so it does not publish its own.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--egress-selector-config-file={}", ways.display()),
    ];
    flags.into()
}

/// Beside a node, which it calls with this certificate.
pub(super) fn api_server_with_node(kubelets: &Identity) -> Vec<String> {
    let flags = [
        "--bind-address=0.0.0.0".to_owned(),
        format!("--advertise-address={NODE_V4}"),
        format!("--kubelet-client-certificate={}", kubelets.certificate.display()),
        format!("--kubelet-client-key={}", kubelets.key.display()),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
    ];
    flags.into()
}

/// The flags of the controllers; all of them work only where there are nodes.
pub(super) fn controllers(ip: Ipv4Addr, pki: &Pki, kubeconfig: &Path, nodes: bool) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    let flags = [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        format!("--bind-address={ip}"),
        format!("--secure-port={CONTROLLERS_PORT}"),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", pki.accounts_key.display()),
        format!("--root-ca-file={}", pki.ca.display()),
        format!("--cluster-signing-cert-file={}", pki.ca.display()),
        format!("--cluster-signing-key-file={}", pki.ca_key.display()),
        format!("--controllers={}", if nodes { "*" } else { WITHOUT_NODES }),
        // Tests make things faster than people do.
        "--kube-api-qps=400".to_owned(),
        "--kube-api-burst=800".to_owned(),
        "--concurrent-service-endpoint-syncs=10".to_owned(),
    ];
    flags.into()
}

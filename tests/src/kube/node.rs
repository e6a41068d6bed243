//! What the programs of a node are told. Pure.
//!
//! Some of it is for machines that are containers themselves: control groups of version 1, and no right to protect a
//! process from being killed for memory.

use std::path::Path;

use serde_json::{Value, json};

/// The name of the only node.
pub(super) const NODE: &str = "node";
/// Its addresses.
pub(super) const NODE_V4: &str = "10.250.0.1";
pub(super) const NODE_V6: &str = "fd00:10:250::1";
/// Where pods ask for names.
pub(super) const DNS: &str = "10.96.0.10";
/// The sandbox of every pod.
pub(super) const PAUSE_IMAGE: &str = "localhost/pause:test";

const PODS_V4: &str = "10.244.0.0/23";
const PODS_V6: &str = "fd00:10:244::/64";

/// The network of the node: a bridge with a carrier as its device, and a default route that leads nowhere; kubelet and
/// kube-proxy want one.
pub(super) fn network() -> String {
    format!(
        "set -e
ip link set lo up
ip link add node0 type bridge
ip addr add {NODE_V4}/24 dev node0
ip -6 addr add {NODE_V6}/64 dev node0 nodad
ip link set node0 up
ip link add node0a type veth peer name node0b
ip link set node0b master node0
ip link set node0a up
ip link set node0b up
ip route add default via 10.250.0.254 dev node0
ip -6 route add default via fd00:10:250::fe dev node0
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
if [ -e /proc/sys/net/bridge ]; then echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables; fi
"
    )
}

/// The pods' network.
pub(super) fn cni(folder: &Path) -> Value {
    let ipam = json!({
        "type": "host-local",
        "dataDir": folder.join("cni-data"),
        "ranges": [[{ "subnet": PODS_V4 }], [{ "subnet": PODS_V6 }]],
    });
    let bridge = json!({
        "type": "bridge",
        "bridge": "cni0",
        "isDefaultGateway": true,
        "ipMasq": false,
        "hairpinMode": true,
        "ipam": ipam,
    });
    json!({ "cniVersion": "1.0.0", "name": "test", "plugins": [bridge] })
}

/// containerd's, in TOML. `binaries` has the CNI plugins.
pub(super) fn containerd(folder: &Path, binaries: &Path) -> String {
    let (folder, binaries) = (folder.display(), binaries.display());
    format!(
        r#"version = 3
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
oom_score = 0
[grpc]
  address = "{folder}/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{binaries}"]
    conf_dir = "{folder}/cni"
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        SystemdCgroup = false
[plugins.'io.containerd.internal.v1.opt']
  path = "{folder}/containerd/opt"
"#
    )
}

/// kubelet's configuration.
pub(super) fn kubelet(folder: &Path, cgroup: &str, ca: &Path, certificate: &Path, key: &Path) -> Value {
    let socket = format!("unix://{}", folder.join("containerd.sock").display());
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "enforceNodeAllocatable": ["pods"],
        "oomScoreAdj": 0,
        "failSwapOn": false,
        "containerRuntimeEndpoint": socket,
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": ca },
        },
        "authorization": { "mode": "Webhook" },
        "tlsCertFile": certificate,
        "tlsPrivateKeyFile": key,
        "clusterDNS": [DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": folder.join("resolv.conf"),
        "address": "0.0.0.0",
        "healthzBindAddress": "127.0.0.1",
        "podLogsDir": folder.join("podlogs"),
        "maxPods": 250,
        // A machine that builds and tests is rarely empty; no image is ever to be cleaned up.
        "evictionHard": { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "10s",
    })
}

/// kube-proxy's configuration.
pub(super) fn kube_proxy(kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": { "kubeconfig": kubeconfig, "qps": 100, "burst": 200 },
        "clusterCIDR": format!("{PODS_V4},{PODS_V6}"),
        "hostnameOverride": NODE,
        "conntrack": { "maxPerCore": 0, "min": 0 },
        "metricsBindAddress": "127.0.0.1:10249",
        "healthzBindAddress": "127.0.0.1:10256",
        "oomScoreAdj": 0,
    })
}

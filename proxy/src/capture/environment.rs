//! Whether this is a place where rules may and can be installed.
//!
//! A pod with `hostNetwork` shares the node's network namespace: rules there would capture everyone's connections. The
//! obvious test, whether this namespace is that of process 1, does not tell: in a pod process 1 is the container's own
//! first process or the pod's pause process, both in the pod's namespace, and it is the node's only with `hostPID`. So
//! two other signs are looked for:
//!
//! * `net.core.netdev_max_backlog` belongs to the machine, and the kernel shows it in its first network namespace only;
//! * the kubelet answers its health checks on 127.0.0.1:10248. A node that is itself a container (kind, k3d) has a
//!   namespace of its own, but the kubelet in it.
//!
//! A pod in a virtual machine of its own (Kata) may be in the first namespace of its own kernel: there
//! `--allow-host-network` is right.

use std::{fs, path::Path};

/// Seen only from the kernel's first network namespace.
const FIRST_NAMESPACE_ONLY: &str = "/proc/sys/net/core/netdev_max_backlog";

/// The sockets of this network namespace.
const SOCKETS: [&str; 2] = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];

/// The kubelet's health port (`healthzPort` of its configuration).
const KUBELET: u16 = 10248;

/// Linux's number of CAP_NET_ADMIN.
const CAP_NET_ADMIN: u32 = 12;

/// Why rules are not installed here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error(
        "CAP_NET_ADMIN is not among this process's effective capabilities. In a pod, give this container \
         `securityContext: {{runAsUser: 0, capabilities: {{drop: [ALL], add: [NET_ADMIN]}}}}`; adding the capability is \
         not enough for another user than root, because Kubernetes sets no ambient capabilities. Elsewhere, run it as root"
    )]
    NoNetAdmin,
    #[error(
        "this is the node's network namespace, not a pod's ({0}): the rules would capture the connections of the whole \
         node. Pods with hostNetwork stay outside of the mesh; if this is what you want, give --allow-host-network"
    )]
    HostNetwork(&'static str),
}

/// Checks both.
pub(super) fn check(allow_host_network: bool) -> Result<(), Unfit> {
    if !allow_host_network && let Some(sign) = host_network() {
        return Err(Unfit::HostNetwork(sign));
    }
    // What cannot be read is left to the kernel to decide.
    match fs::read_to_string("/proc/self/status").ok().and_then(|status| effective(&status)) {
        Some(capabilities) if capabilities >> CAP_NET_ADMIN & 1 == 0 => Err(Unfit::NoNetAdmin),
        _ => Ok(()),
    }
}

fn host_network() -> Option<&'static str> {
    if Path::new(FIRST_NAMESPACE_ONLY).exists() {
        return Some(
            "net.core.netdev_max_backlog is visible, as it is only in the first network namespace of a machine",
        );
    }
    let kubelet = SOCKETS.iter().any(|file| fs::read_to_string(file).is_ok_and(|sockets| listens(&sockets, KUBELET)));
    kubelet.then_some("the kubelet's health port, 10248, is listened on")
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// Whether a socket listens on this port, by the kernel's list: `sl local_address rem_address st …`, where the state of
/// listening is 0A.
fn listens(sockets: &str, port: u16) -> bool {
    sockets.lines().skip(1).any(|line| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let local = words.next().and_then(|local| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok());
        local == Some(port) && words.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::{effective, listens};

    const SOCKETS: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2808 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 15216 1
   1: 0100007F:4A39 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 15217 1
";

    #[test]
    fn a_listening_socket_is_told_from_a_connected_one() {
        assert!(listens(SOCKETS, 10248));
        assert!(!listens(SOCKETS, 19001));
        assert!(!listens("", 10248));
    }

    #[test]
    fn effective_capabilities_are_read() {
        assert_eq!(effective("CapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n"), Some(1 << 12));
        assert_eq!(effective("Name:\tx\n"), None);
    }
}

//! What there must be, as data, and where it comes from.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// One binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(super) origin: Origin,
}

/// Where a binary comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Built from a package that the Go module in this folder of [`MODULES`] requires.
    Go { module: &'static str, package: &'static str },
    /// Built from the Go module itself in this folder, each time, and statically: it is for images.
    OurGo { module: &'static str },
    /// A file of a package of Debian sid: bookworm's are too old.
    Debian { package: &'static str, path: &'static str },
}

/// The folder of the Go modules.
pub(super) const MODULES: &str = "tests/kube-assets";

/// What goes into the digest: all that says what is built once.
const FILES: [&str; 9] = [
    "go.mod",
    "go.sum",
    "tools.go",
    "etcd/go.mod",
    "etcd/go.sum",
    "etcd/tools.go",
    "coredns/go.mod",
    "coredns/go.sum",
    "coredns/main.go",
];

/// What serves the API and makes of it what there ought to be, and its names; no nodes.
pub(crate) const CONTROL_PLANE: &[Source] = &[
    Source { name: "etcd", origin: Origin::Go { module: "etcd", package: "go.etcd.io/etcd/server/v3" } },
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    Source { name: "coredns", origin: Origin::Go { module: "coredns", package: "." } },
];

/// What a node has, and what runs in its pods.
pub(crate) const NODE: &[Source] = &[
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    debian("containerd", "containerd", "usr/bin/containerd"),
    debian("containerd-shim-runc-v2", "containerd", "usr/bin/containerd-shim-runc-v2"),
    debian("ctr", "containerd", "usr/bin/ctr"),
    debian("bridge", "containernetworking-plugins", "usr/lib/cni/bridge"),
    debian("host-local", "containernetworking-plugins", "usr/lib/cni/host-local"),
    debian("loopback", "containernetworking-plugins", "usr/lib/cni/loopback"),
    Source { name: "workload", origin: Origin::OurGo { module: "workload" } },
];

const fn kubernetes(name: &'static str, package: &'static str) -> Source {
    Source { name, origin: Origin::Go { module: "", package } }
}

const fn debian(name: &'static str, package: &'static str, path: &'static str) -> Source {
    Source { name, origin: Origin::Debian { package, path } }
}

impl Source {
    /// Whether what is in the folder will do.
    pub(super) fn is_there(&self, folder: &Path) -> bool {
        !matches!(self.origin, Origin::OurGo { .. }) && self.is_given(folder)
    }

    /// Whether a folder that somebody else filled has it.
    pub(super) fn is_given(&self, folder: &Path) -> bool {
        folder.join(self.name).is_file()
    }
}

/// Names the folder of what is built from these modules: FNV-1a of their files, for changes, not against forgers.
pub(super) fn digest(modules: &Path) -> Result<u64> {
    FILES.iter().try_fold(0xcbf2_9ce4_8422_2325, |digest, name| {
        let path = modules.join(name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(add(add(digest, &bytes.len().to_le_bytes()), &bytes))
    })
}

fn add(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The version of Kubernetes that a go.mod requires: `v1.36.2`.
pub(super) fn kubernetes_version(go_mod: &str) -> Option<&str> {
    let requirements = go_mod.lines().map(|line| line.trim().trim_start_matches("require ").trim());
    requirements.filter_map(|line| line.strip_prefix("k8s.io/kubernetes ")).find_map(|rest| rest.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::{MODULES, add, digest, kubernetes_version};
    use crate::cargo::root;

    #[test]
    fn the_version_is_what_is_required() {
        let alone = "module x\n\nrequire k8s.io/kubernetes v1.36.2\n\nrequire (\n\tk8s.io/api v0.36.2 // indirect\n)\n";
        assert_eq!(kubernetes_version(alone), Some("v1.36.2"));
        assert_eq!(kubernetes_version("require (\n\tk8s.io/kubernetes v1.37.0 // x\n)"), Some("v1.37.0"));
        assert_eq!(kubernetes_version("require k8s.io/kubernetes-csi v1.0.0"), None);
    }

    #[test]
    fn the_digest_is_that_of_fnv_1a() {
        // From the test vectors of the algorithm's authors.
        assert_eq!(add(0xcbf2_9ce4_8422_2325, b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_modules_are_there_and_name_their_version() {
        let modules = root().join(MODULES);
        assert!(digest(&modules).is_ok());
        let go_mod = std::fs::read_to_string(modules.join("go.mod")).unwrap();
        assert!(kubernetes_version(&go_mod).is_some());
    }
}

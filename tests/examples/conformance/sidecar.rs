//! The two sidecars of a client.

use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;
use wasmesh_tests::{dns::PATIENT, process::Process, until};

use crate::{
    cluster::{Capture, NAMESPACE, resolver},
    family::Family,
    node::Node,
    pod::Pod,
};

/// The HTTP proxy for whoever asks for it.
pub(crate) const HTTP_PROXY: &str = "http://127.0.0.1:19002";

pub(crate) struct Sidecar {
    holder: Option<Process>,
    proxy: Process,
    /// As the emptyDir of a pod.
    shared: TempDir,
    options: Vec<String>,
}

impl Sidecar {
    /// With these further options of capture.
    pub(crate) fn start(pod: &Pod, node: &Node, control_plane: &str, capture: Capture, more: &[&str]) -> Self {
        let resolvers = Family::BOTH.map(resolver);
        let shared = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o777)).expect("a folder for all");
        let [v4, v6] = resolvers;
        pod.netns.resolv_conf(&format!(
            "nameserver {v4}\nnameserver {v6}\nsearch {NAMESPACE}.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n{PATIENT}\n"
        ));
        let zone = node.name.replace("node", "zone");
        let socket = shared.path().join("capture.sock");
        let socket = socket.to_str().expect("a path");
        let mut arguments = vec![
            "--http-proxy-listen=127.0.0.1:19002",
            "--dns-listen=127.0.0.1:19053",
            "--dns-listen=[::1]:19053",
            "--workers=1",
            "--namespace",
            NAMESPACE,
            "--node-name",
            node.name,
            "--zone",
            &zone,
        ];
        if capture != Capture::None {
            arguments.extend(["--capture-socket", socket]);
        }
        let proxy = pod.netns.proxy_with(control_plane, pod.name, &arguments);
        let services = Family::BOTH.map(|family| format!("--service-cidr={}", family.services()));
        let backend = [format!("--backend={}", capture.name()), "--dns".to_owned()];
        let dns = resolvers.map(|resolver| format!("--dns-resolver={resolver}"));
        let more = more.iter().map(|option| (*option).to_owned());
        let options = services.into_iter().chain(backend).chain(dns).chain(more).collect();
        let mut sidecar = Self { holder: None, proxy, shared, options };
        if capture != Capture::None {
            sidecar.capture(pod);
        }
        sidecar
    }

    /// Starts what captures.
    pub(crate) fn capture(&mut self, pod: &Pod) {
        let options: Vec<_> = self.options.iter().map(String::as_str).collect();
        self.holder = Some(pod.netns.hold_capture(&self.shared.path().join("capture.sock"), &options));
    }

    /// Ends what captures, as a container is ended.
    pub(crate) fn drain(&mut self) {
        if let Some(mut holder) = self.holder.take() {
            holder.terminate();
            assert!(holder.wait().success(), "the drain of capture fails");
        }
    }

    /// Waits until connections are captured and what has no endpoint can be refused.
    pub(crate) fn wait_captured(&self, pod: &Pod) {
        until("connections are captured", || pod.netns.enter(|| self.metric("wasmesh_capture_connected", &[])) == 1.0);
    }

    /// To be asked inside of the pod.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.proxy.admin().metric(name, labels)
    }
}

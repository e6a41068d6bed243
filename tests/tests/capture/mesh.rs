//! A real proxy and control plane in the pod.

use std::net::SocketAddr;

use wasmesh_tests::{ControlPlane, EndpointManifest, Folder, Service, process::Process};

use crate::{
    echo::{echo, everywhere},
    pod::{NODE4, NODE6, PORT, Pod, VIP4, VIP6, VIPS, listen},
};

/// What the proxy is called in the control plane's status.
const PROXY: &str = "default/captured";

/// A pod with a proxy, in a cluster that echoes.
pub(crate) struct Meshed {
    pub(crate) proxy: Process,
    pub(crate) control_plane: ControlPlane,
    folder: Folder,
    pub(crate) pod: Pod,
}

impl Default for Meshed {
    fn default() -> Self {
        Self::with(&[])
    }
}

impl Meshed {
    /// With one Service that has an endpoint in each family: the echo that also answers the Service's addresses. `options` are
    /// more of the proxy's.
    pub(crate) fn with(options: &[&str]) -> Self {
        let pod = Pod::default();
        everywhere(PORT).into_iter().for_each(|address| echo(listen(&pod.cluster, address)));
        let folder = Folder::default();
        folder.put([&alive()]);
        let control_plane = pod.netns.enter(|| ControlPlane::start(folder.path()));
        let proxy = start_proxy(&pod, &control_plane, options);
        let meshed = Self { proxy, control_plane, folder, pod };
        meshed.wait_current();
        meshed
    }

    pub(crate) fn apply<const N: usize>(&self, services: &[Service; N]) {
        self.pod.netns.enter(|| {
            let before = self.control_plane.sequence();
            self.folder.put(services);
            self.control_plane.wait_published_after(before);
        });
        self.wait_current();
    }

    pub(crate) fn restart_proxy(&mut self) {
        self.proxy = start_proxy(&self.pod, &self.control_plane, &[]);
        self.wait_current();
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.pod.netns.enter(|| self.proxy.admin().metric(name, &[]))
    }

    fn wait_current(&self) {
        self.pod.netns.enter(|| self.control_plane.wait_current(PROXY));
    }
}

fn start_proxy(pod: &Pod, control_plane: &ControlPlane, options: &[&str]) -> Process {
    let socket = pod.socket();
    let options = [&["--capture-socket", socket.to_str().unwrap()], options].concat();
    pod.netns.proxy_with(&control_plane.url(), "captured", &options)
}

pub(crate) fn service() -> Service {
    Service::new("echo").vip(VIP4).vip(VIP6).port("tcp-echo", PORT)
}

/// With an endpoint in each family.
pub(crate) fn alive() -> Service {
    let endpoints = [NODE4, NODE6].map(|ip| SocketAddr::new(ip.parse().unwrap(), PORT));
    service().endpoints(endpoints.map(|endpoint| EndpointManifest::from(endpoint).port("tcp-echo")))
}

pub(crate) fn addresses() -> [SocketAddr; 2] {
    VIPS.map(|vip| (vip, PORT).into())
}

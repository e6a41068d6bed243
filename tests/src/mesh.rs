//! A whole mesh: a folder, a control plane that reads it, and a proxy.

use std::ops::Deref;

use crate::{ControlPlane, Folder, Load, Policy, Proxy, Service, Tally};

/// A mesh of these Services with one proxy. It can do whatever its proxy can.
pub struct Mesh {
    /// What the control plane reads.
    pub folder: Folder,
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The sidecar.
    pub proxy: Proxy,
}

impl Mesh {
    /// Starts a mesh and waits until its proxy knows everything.
    #[track_caller]
    pub fn of<const N: usize>(services: [Service; N]) -> Self {
        Self::with(&[], services)
    }

    /// The same with options for the proxy.
    #[track_caller]
    pub fn with<const N: usize>(options: &[&str], services: [Service; N]) -> Self {
        let folder = Folder::default();
        folder.put(&services);
        let control_plane = ControlPlane::start(folder.path());
        let proxy = Proxy::start(&control_plane.url(), options);
        control_plane.wait_current(proxy.full_name());
        Self { folder, control_plane, proxy }
    }

    /// Makes these all there is, in one write, and waits until the proxy has acknowledged it. They must differ from what
    /// there was.
    #[track_caller]
    pub fn apply<const N: usize>(&self, services: [Service; N]) {
        let before = self.control_plane.sequence();
        self.folder.put(&services);
        self.control_plane.wait_published_after(before);
        self.wait_current();
    }

    /// Writes a policy, and waits until the proxy has acknowledged what it changes. It must change something.
    #[track_caller]
    pub fn apply_policy(&self, policy: Policy) {
        let before = self.control_plane.sequence();
        self.folder.put_policy(&policy);
        self.control_plane.wait_published_after(before);
        self.wait_current();
    }

    /// Takes a policy away that governs something, and waits until the proxy has acknowledged that.
    #[track_caller]
    pub fn remove_policy(&self, name: &str) {
        let before = self.control_plane.sequence();
        self.folder.remove_policy(name);
        self.control_plane.wait_published_after(before);
        self.wait_current();
    }

    /// Waits until the proxy has acknowledged everything.
    #[track_caller]
    pub fn wait_current(&self) {
        self.control_plane.wait_current(self.proxy.full_name());
    }

    /// GETs a URL so often on one connection, and tells who answered.
    ///
    /// # Panics
    /// When a response is not 200.
    #[track_caller]
    pub fn spread(&self, url: &str, requests: usize) -> Tally {
        let (mut client, mut tally) = (self.client(), Tally::default());
        for _ in 0..requests {
            let response = client.get(url);
            assert_eq!(response.status, 200, "{url}: {response:?}");
            tally.add(response.backend());
        }
        tally
    }

    /// Starts to GET a URL over and over on this many connections at once.
    pub fn load(&self, url: &str, connections: usize) -> Load {
        Load::start(self.http(), url, connections)
    }
}

impl Deref for Mesh {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

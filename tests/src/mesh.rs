//! A whole mesh: a folder, a control plane that reads it, and a proxy.

use std::ops::Deref;

use serde_json::Value;
use wasmesh_control_plane::server::Door;

use crate::{ControlPlane, Folder, Load, Policy, Proxy, Service, Tally, eventually, policy::sha256, until};

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
        Self::administered(&[], options, services)
    }

    /// The same with options for the control plane before those for the proxy.
    #[track_caller]
    pub fn administered<const N: usize>(control_plane: &[&str], options: &[&str], services: [Service; N]) -> Self {
        let folder = Folder::default();
        folder.put(&services);
        let control_plane = ControlPlane::behind(|_| Door::open(), folder.path(), control_plane);
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

    /// What has become of its only policy, in the words of the control plane.
    pub fn policy_status(&self) -> Value {
        let page = self.control_plane.admin().json("/debug/policies");
        page["policies"].as_array().and_then(|policies| policies.first().cloned()).unwrap_or_default()
    }

    /// Waits until this module decides, as what serves or as a candidate.
    #[track_caller]
    pub fn wait_module(&self, module: &[u8]) {
        let digest = sha256(module);
        until("the module serves", || {
            let page = self.admin().json("/debug/policies");
            let is_it = |state: &Value| state["phase"] == "programmed" && state["module"] == digest;
            page["policies"].as_array().is_some_and(|states| states.iter().any(is_it))
        });
    }

    /// Waits until what the only policy refers to is refused for this reason and in these words, while this module serves.
    #[track_caller]
    pub fn wait_refused(&self, reason: &str, words: &[&str], serving: &[u8]) {
        let status = eventually(&format!("{reason} {words:?}"), || {
            let status = self.policy_status();
            let condition = &status["resolved_refs"];
            let message = condition["message"].as_str().unwrap_or_default();
            (condition["reason"] == reason && words.iter().all(|word| message.contains(word))).then(|| status.clone())
        });
        assert_eq!(status["serving"]["is_earlier"], true, "{status}");
        assert_eq!(status["serving"]["program"]["module"], sha256(serving), "{status}");
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

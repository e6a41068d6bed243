//! Everything of the mesh that reads bytes of strangers, as functions of these bytes: whatever they are, nothing panics, hangs or takes
//! more memory than its share, and what is said of each target holds.
//!
//! `cargo xtask fuzz` makes up bytes and looks which code they reach; the tests replay what was found, and what is typical, from
//! `corpus/TARGET`.

mod discovery;
mod manifests;

/// Something that reads bytes of strangers.
#[derive(Debug)]
pub struct Target {
    /// The name of its corpus.
    pub name: &'static str,
    /// Reads these bytes. It panics when something does not hold.
    pub read: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "discovery-to-proxy", read: discovery::to_proxy },
    Target { name: "discovery-to-control-plane", read: discovery::to_control_plane },
    Target { name: "manifests", read: manifests::read },
    Target { name: "http1-request", read: wasmesh_proxy::foreign::http1_request },
    Target { name: "http1-answer", read: wasmesh_proxy::foreign::http1_answer },
    Target { name: "first-bytes", read: wasmesh_proxy::foreign::first_bytes },
    Target { name: "dns", read: wasmesh_proxy::foreign::dns },
    Target { name: "modules", read: wasmesh_policy_host::foreign::module },
    Target { name: "recordings", read: recordings },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

fn recordings(bytes: &[u8]) {
    // Its errors are for people.
    drop(wasmesh_policy_recording::Recording::read(bytes));
}

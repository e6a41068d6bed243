//! What an installation of the mesh gives every pod.

use wasmesh_core::capture::Cidr;

use crate::Resources;

/// What an installation of the mesh gives every pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The image of both sidecars.
    pub image: String,
    /// The version that pods are marked with.
    pub version: String,
    /// Where the proxy finds the control plane.
    pub control_plane: String,
    /// What it trusts, PEM.
    pub ca_bundle: String,
    /// Where Services have their addresses. Without any, nothing is captured.
    pub service_cidrs: Vec<Cidr>,
    /// The domain under which the cluster's names live.
    pub cluster_domain: String,
    /// What sidecars ask for, unless their pod says otherwise.
    pub resources: Resources,
}

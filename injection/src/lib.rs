//! What the mesh adds to a pod, and which pods it leaves alone. Pure: the webhook and `wasmesh inject` both ask here.
//!
//! Two native sidecars are put before the pod's own init containers: `wasmesh-proxy`, without any privilege, and
//! `wasmesh-capture`, which leads the pod's connections to it and has NET_ADMIN and nothing else. Nothing that the user
//! wrote is changed or removed; what cannot be done without that is not done, and said.
//!
//! A pod is JSON here, not a type: it may have fields that are younger than this program, and they must survive.

mod additions;
mod annotations;
pub mod facts;
pub mod names;
pub mod patch;
mod pod;
mod quantity;
mod reasons;
mod resources;
mod settings;

use serde_json::Value;

pub use facts::{Facts, PodSecurity};
pub use patch::{Operation, Patch};
pub use quantity::Quantity;
pub use reasons::{Leave, Refuse};
pub use resources::{Bound, Bounds, Budget, Resource, ResourceName, ResourceWish, Resources, Sidecar};
pub use settings::Settings;

use additions::Capture;
use pod::Pod;

/// What is to become of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// It is meshed.
    Inject(Injection),
    /// It stays as it is.
    Leave(Leave, Vec<String>),
    /// It must not run like this, because it asks for the mesh and cannot have it for a reason that its author can mend.
    Refuse(Refuse),
}

/// A pod that is meshed.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// What makes it so.
    pub patch: Patch,
    /// With the patch applied.
    pub pod: Value,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Decides about a pod, as it was asked for or as another webhook has left it.
#[must_use]
pub fn inject(pod: &Value, facts: &Facts, settings: &Settings) -> Decision {
    let pod = match Pod::read(pod) {
        Ok(pod) => pod,
        Err(leave) => return Decision::Leave(leave, Vec::new()),
    };
    let mut warnings = Vec::new();
    if !pod.is_wanted(facts.opted_in, &mut warnings) {
        return Decision::Leave(Leave::NotWanted, warnings);
    }
    if let Some(leave) = reasons::leave(&pod) {
        return Decision::Leave(leave, warnings);
    }
    if let Some(refuse) = reasons::refuse(&pod) {
        return Decision::Refuse(refuse);
    }
    let capture = Capture::plan(&pod, facts, settings, &mut warnings);
    let resources = resources::of_pod(&pod, &settings.resources, &mut warnings);
    let mut patch = Patch::of(pod.value);
    additions::add(&mut patch, &capture, resources.as_ref(), settings);
    let (patch, pod) = patch.finish();
    Decision::Inject(Injection { patch, pod, warnings })
}

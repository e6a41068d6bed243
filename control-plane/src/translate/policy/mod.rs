//! Policies as objects: how they are written, what they amount to, which of them governs a port, and what is said of them.

pub mod ancestors;
mod attach;
mod canonical_json;
pub mod condition;
mod crd;
mod module;
mod object;
mod resolve;
pub mod spec;
mod status;

pub use self::{
    attach::{Attached, Attachment, Claimant},
    condition::{Condition, Reason},
    crd::custom_resource_definition,
    module::{InvalidModule, MAX_MODULE_BYTES, Module},
    object::{ConfigMap, FileFault, PolicyObject},
    resolve::{Fault, Grants, Resolved, Surroundings, resolve},
    status::{PolicyStatus, PortName, Serving, Subject, Target, TargetStatus},
};

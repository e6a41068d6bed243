//! The domain of the mesh: services, endpoints, snapshots, routing and balancing.
//!
//! Everything here is pure and synchronous. There is no tokio, tonic, kube, wasmtime, socket, clock or source of
//! randomness in this crate: time and random numbers are arguments, so that every rule is tested without a socket,
//! a runtime or a sleep.
//!
//! Reading order: [`name`], [`service`] and [`endpoint`] are the vocabulary; [`version`] names a content;
//! [`snapshot`] is what a control plane publishes and [`table`] what a proxy holds; [`candidates`], [`route`] and
//! [`policy`] decide where a request goes, and [`dns`] what a name means. [`afar`] names modules of policies that are fetched.

pub mod afar;
pub mod affinity;
pub mod backoff;
pub mod candidates;
pub mod capture;
pub mod checksum;
pub mod directory;
pub mod dns;
pub mod ejection;
pub mod endpoint;
pub mod load;
pub mod name;
pub mod name_map;
pub mod owners;
pub mod policy;
pub mod route;
pub mod service;
pub mod snapshot;
pub mod table;
pub mod version;

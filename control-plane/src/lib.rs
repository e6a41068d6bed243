//! The control plane: turns Kubernetes objects into snapshots and keeps every proxy up to date.
//!
//! A change walks: [`source`] (objects, as they come) -> [`translate`] (pure) -> [`registry`] (pure) -> [`publisher`]
//! (coalesces, hands out one immutable snapshot) -> [`server`] (each stream sends the difference between what its proxy
//! has acknowledged and the latest).

pub mod admin;
pub mod afar;
pub mod certificates;
pub mod connections;
pub mod events;
pub mod findings;
pub mod identity;
pub mod injector;
pub mod kubernetes;
pub mod leadership;
pub mod options;
mod pace;
pub mod policies;
pub mod published;
pub mod publisher;
pub mod registry;
pub mod run;
pub mod server;
pub mod source;
pub mod status;
pub mod translate;

pub use options::Options;
pub use run::{Listeners, serve, serve_behind};

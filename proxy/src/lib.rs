//! The sidecar: takes a pod's outbound connections, chooses a backend for each request, and forwards.
//!
//! Two walks meet in the [`world`], one immutable value that is replaced as a whole:
//!
//! * [`discovery`] (its own thread) talks to the control plane and publishes worlds;
//! * each [`worker`] (a thread of its own, nothing shared but the world and the endpoints' load) accepts connections,
//!   routes them, and hands them to [`http`] or [`tcp`].
//!
//! Users' policies come in by a third: the keeper of [`policy`], on its own thread, seats them in the workers' cells. Beside them
//! [`dns`], on its thread, answers for the names of the mesh.
//!
//! Nothing on a request's path takes a lock or hops a channel.

pub mod admin;
mod backlog;
pub mod capture;
pub mod clock;
pub mod cpus;
pub mod destination;
pub mod discovery;
pub mod dns;
pub mod drain;
pub mod events;
#[doc(hidden)]
pub mod foreign;
pub mod health;
pub mod http;
pub mod http1;
pub mod limits;
pub mod options;
pub mod owners;
pub mod policy;
pub mod run;
pub mod service_metrics;
pub mod tcp;
pub mod throttle;
pub mod worker;
pub mod world;

pub use options::Options;
pub use run::{Listeners, serve};

//! Runs load-balancing policies that users bring as WebAssembly components: `plugins/wit` is what both sides agreed on.
//!
//! The same host runs a policy in the mesh and on its author's desk. Reading order: a [`Host`] loads a [`Module`]; with
//! [`Settings`] it becomes a [`Policy`], which was tried and may serve; that makes an [`Instance`] for each worker and
//! Service port, which is given endpoints and picks.
//!
//! Nothing that a guest does takes the host down, blocks it for long or makes it use much memory: see [`budget`].
//! Whoever calls decides what a [`Fault`] means for traffic.

pub mod budget;
mod cache;
mod compile;
mod component;
mod contract;
mod direct;
mod dry_run;
mod endpoints;
mod engine;
mod error;
mod fault;
#[doc(hidden)]
pub mod foreign;
mod guard;
mod guest;
mod host;
mod instance;
mod load;
mod log;
mod module;
mod plan;
mod policy;
mod pool;
mod request;
mod settings;
mod state;
mod text;
mod watchdog;

pub use compile::{Calls, CompileLimits, compile_child_main};
pub use endpoints::{EndpointView, Health, NoStats, Stats};
pub use error::{HostError, ModuleError, Rejection, UpdateError};
pub use fault::Fault;
pub use host::{Compiler, Host, HostOptions, digest};
pub use instance::Instance;
pub use log::{LogLevel, LogSink};
pub use module::{CallPath, Module};
pub use plan::{Keys, MAX_BODY_BYTES, MAX_KEYS, MAX_REASON_BYTES, MAX_REASONS, MAX_WANTS, Plan, PlanError, Want, Word};
pub use policy::{Policy, Snapshot};
pub use request::{Choice, Decision, NoSource, Outcome, Report, Request, RequestSource, Traits};
pub use settings::{About, DEFAULT_FUEL, DEFAULT_MEMORY_BYTES, Grants, Settings};
pub use wasmesh_core::policy::ModuleDigest;

//! The discovery service: one stream per proxy.

mod admission;
mod discovery;
mod downloads;
mod peers;
mod shared;
mod stream;
mod streams;

pub use discovery::Discovery;
pub use streams::{StreamStatus, Streams};

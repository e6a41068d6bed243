//! The discovery service: one stream per proxy.

mod called;
mod discovery;
mod door;
mod downloads;
mod peers;
mod shared;
mod stream;
mod streams;
mod tls;

pub use discovery::Discovery;
pub use door::{ALPN, Door, MostConnections, serve};
pub use shared::Shared;
pub use streams::{StreamStatus, Streams};

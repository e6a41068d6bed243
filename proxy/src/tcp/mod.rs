//! Captured connections: finds out what is spoken and forwards bytes, or hands over to HTTP.

mod client;
mod connect;
mod detect;
mod prefixed;
mod relay;
mod serve;
pub mod sniff;

pub use client::ClientStream;
pub(crate) use connect::MAX_ATTEMPTS;
pub use connect::{ConnectError, connect_any, connect_direct, connect_endpoint};
pub use prefixed::Prefixed;
pub use relay::{Transfer, relay};
pub use serve::serve_stream;

//! Captured connections: finds out what is spoken and forwards bytes, or hands over to HTTP.

mod connect;
mod detect;
mod prefixed;
mod relay;
mod serve;
pub mod sni;
pub mod sniff;
mod stream;

pub use connect::{ConnectError, Dialled, attempts, connect_direct, connect_endpoint, dial};
pub use prefixed::Prefixed;
pub use relay::{Relayed, relay};
pub use serve::{serve_opaque, serve_stream};
pub use stream::{Stream, prepare};

//! Both ends of a stream as state machines without I/O.
//!
//! [`server::ServerSession`] is what the control plane keeps per proxy, [`client::ClientSession`] what a proxy keeps
//! for as long as it runs. Each is fed the messages of the other and says what to send; neither knows a socket, a
//! runtime or a clock, so that every loss and every reordering by reconnect can be tried in a plain test.

pub mod client;
pub mod encoder;
pub mod server;

use wasmesh_core::checksum::HeldVersions;

/// Messages are filled up to this many bytes, so that none comes near the 4 MiB that gRPC implementations accept by
/// default.
const PART_BYTES: usize = 1024 * 1024;

/// What an element of a list costs in a message besides its text, at most: two versions, tags and lengths.
const ELEMENT_BYTES: usize = 32;

/// A resource that a proxy did not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The versions that were rejected.
    pub versions: HeldVersions,
    /// Why, for people.
    pub reason: String,
    /// Nothing may be wrong with the resource: the delta did not fit what the proxy holds.
    pub resend: bool,
}

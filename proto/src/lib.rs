//! The wire contract between control plane and proxy, and the logic of both ends of it.
//!
//! [`wire`] is generated from `wasmesh/discovery/v1/discovery.proto`, where every guarantee of the protocol is written
//! down. [`convert`] is the only place where messages become values of the core and back. [`session`] has the two ends
//! of a stream as state machines that do no I/O: they are given messages and return messages.

pub mod codec;
pub mod convert;
pub mod session;

/// Messages and service stubs, generated from the .proto.
#[allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all, clippy::pedantic)] // generated code
pub mod wire {
    tonic::include_proto!("wasmesh.discovery.v1");
}

/// The revision of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;

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

/// How many addresses one question for their owners may have.
pub const MAX_ADDRESSES: usize = 256;

/// What an element of a list costs in a message besides its text, at most: two versions, tags and lengths.
const ELEMENT_BYTES: usize = 32;

/// A resource that a proxy did not apply, or not all of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The versions that were rejected.
    pub versions: HeldVersions,
    /// Which of the two it was.
    pub part: Part,
    /// Why, for people.
    pub reason: String,
    /// Nothing may be wrong with the resource: the delta did not fit what the proxy holds.
    pub resend: bool,
}

/// Which part of a resource was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The entry, and with it whatever came along.
    Entry,
    /// The endpoints; the entry was applied.
    Endpoints,
    /// Each of the two, one after the other.
    Both,
}

impl Rejected {
    /// A rejection by a proxy that holds `held` of the Service now: if that is the entry which came, it was applied, and
    /// the endpoints are what is wrong.
    fn new(versions: HeldVersions, held: Option<HeldVersions>, reason: String, resend: bool) -> Self {
        let was_applied = held.is_some_and(|held| held.entry == versions.entry);
        Self { versions, part: if was_applied { Part::Endpoints } else { Part::Entry }, reason, resend }
    }

    /// Both this rejection and an earlier one of the same Service, if that was of the other part.
    fn joined_with(self, earlier: Option<Self>) -> Self {
        let Some(earlier) = earlier else { return self };
        let versions = match (earlier.part, self.part) {
            (Part::Entry | Part::Both, Part::Endpoints) => {
                HeldVersions { entry: earlier.versions.entry, ..self.versions }
            }
            (Part::Endpoints | Part::Both, Part::Entry) => {
                HeldVersions { endpoints: earlier.versions.endpoints, ..self.versions }
            }
            _ => return self,
        };
        Self { versions, part: Part::Both, resend: self.resend || earlier.resend, ..self }
    }

    /// What may be sent of `wanted` to a proxy that holds `held`: all but what it has rejected. `None`: nothing at all.
    fn without(&self, mut wanted: HeldVersions, held: Option<HeldVersions>) -> Option<HeldVersions> {
        let Self { versions, part, .. } = self;
        if *part != Part::Endpoints && versions.entry == wanted.entry {
            wanted.entry = held?.entry;
        }
        if *part != Part::Entry && versions.endpoints == wanted.endpoints {
            wanted.endpoints = held.and_then(|held| held.endpoints);
        }
        Some(wanted)
    }
}

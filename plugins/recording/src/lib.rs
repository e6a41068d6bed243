//! Recordings of picks: everything that a policy was given and what it answered, so that the same can be played to a
//! policy again.
//!
//! A policy is a function of what it is given: lists of endpoints, requests as numbers, the host's answers to its questions
//! about load, reports. A recording has these from the first moment of an instance on, so that the same module answers the same, bit for
//! bit, and another one can be compared with it. Strings of requests are not recorded, neither is anything of their bodies.
//!
//! A sidecar writes ([`Recorder`], [`Tape`]); whoever reads ([`Recording`]) plays it to a policy ([`replay`]).

mod format;
mod heard;
mod read;
mod record;
mod replay;

pub use format::{Answer, Begun, End, Endpoint, Grants, Head, Health, Line, Outcome, Pick, Reported, Then, Trait};
pub use heard::HeardSource;
pub use read::{Course, Recording, Unreadable};
pub use record::{Progress, Recorder, Sink, Tape};
pub use replay::{Difference, Replayed, Unplayable, replay};

//! What is said of policies in the cluster: the status of the objects.
//!
//! Every replica knows what its own proxies make of each policy ([`counts`], [`Tally`]) and writes that into a Lease of its own
//! ([`replicas`]); the leader adds up what all replicas say and writes the status of the objects ([`writer`]), where
//! [`conditions`] says what is to be written.

pub mod conditions;
pub mod counts;
mod replicas;
mod tally;
mod writer;

pub use self::{replicas::publish, tally::Tally, writer::write};

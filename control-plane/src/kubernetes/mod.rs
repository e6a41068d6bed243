//! The API server, for whoever talks to it.

mod client;

pub use client::{connect, explain};

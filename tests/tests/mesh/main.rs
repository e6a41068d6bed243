//! Whole meshes in one process: what a user of the mesh would see, and what no peer may do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod balancing;
mod failure;
mod http;
mod names;
mod passthrough;
mod streaming;
mod topology;
mod tunnels;
mod updates;

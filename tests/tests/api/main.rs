//! Against the real API server of Kubernetes: what it says, takes, refuses and forgets, and never what we believe it does.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod bad_server;
mod check;
mod dns;
mod identity;
mod injection;
mod install;
mod mesh;
mod policies;
mod resources;
mod rig;
mod source;

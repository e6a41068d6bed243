//! In a real cluster of one node: pods that run, are scheduled, probed, rolled and deleted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod look;
mod rig;
mod services;
mod story;
mod tools;
mod town;

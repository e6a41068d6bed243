//! Captured traffic: in a network namespace with nftables rules written by hand, as the only thing a client knows is an
//! address.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod capture;
mod inside;
mod opaque;

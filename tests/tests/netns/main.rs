//! Captured traffic: in a network namespace with nftables rules written by hand, as the only thing a client knows is an
//! address.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]
#![allow(clippy::needless_pass_by_value, reason = "a test writes its services down where they are used")]

mod capture;
mod inside;
mod opaque;
mod tutorial;

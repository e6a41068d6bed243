//! Against real software: curl as a client, nginx as a backend.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod curl;
mod nginx;

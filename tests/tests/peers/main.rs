//! Against real software: clients, servers and libraries that people use.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod curl;
mod greeting;
mod grpc;
mod modules;
mod nghttp2;
mod nginx;
mod python;
mod websocket;

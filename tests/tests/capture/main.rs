//! `wasmesh-proxy capture`: in network namespaces, one for the pod and one for the rest of the cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

mod dns;
mod drills;
mod echo;
mod errors;
mod holder;
mod life;
mod live;
mod mesh;
mod pod;
mod what;
mod whole;

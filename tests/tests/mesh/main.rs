//! Whole meshes in one process: what a user of the mesh would see, and what no peer may do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]
#![allow(clippy::needless_pass_by_value, reason = "a test writes its services down where they are used")]

mod admin;
mod affinity;
mod bad_clients;
mod bad_control_planes;
mod bad_manifests;
mod bad_proxies;
mod balancing;
mod dashboard;
mod detection;
mod discovery;
mod dns;
mod drain;
mod ejection;
mod failure;
mod first_use;
mod http;
mod http1_whole;
mod http2;
mod http2_flow;
mod identity;
mod limits;
mod names;
mod outage;
mod passthrough;
mod pod_connections;
mod policies;
mod policies_afar;
mod policies_delivery;
mod policies_recorded;
mod replicas;
mod resume;
mod services_page;
mod silent_backends;
mod skew;
mod smuggling;
mod streaming;
mod topology;
mod tunnels;
mod updates;

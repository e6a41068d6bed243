//! A mesh to test with: real control planes, real proxies, in-tree backends and clients, in one process and on port 0.
//!
//! A test says what there is ([`Service`], [`Backend`]), starts a [`Mesh`] of it, and talks to it with a [`Client`] or a
//! [`Load`]. Everything blocks and nothing sleeps for luck: [`eventually`] looks until it sees what it waits for, and
//! panics with its name if that takes too long.
//!
//! What a real peer would never do is done by [`FakeControlPlane`], [`FakeProxy`] and [`Scripted`] backends; what can
//! only be done to a process, by [`process`]; captured traffic is for [`netns`]; the API server of Kubernetes for [`mod@kube`].
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a harness fails by panicking, like the test it serves")]
#![allow(clippy::needless_pass_by_value, reason = "a test writes its services down where they are used")]

mod admin;
mod backend;
mod captured;
mod client;
mod control_plane;
pub mod dns;
mod fake_control_plane;
mod fake_proxy;
mod fleet;
mod folder;
mod http2_backend;
mod http2_client;
pub mod kube;
mod load;
mod loopback;
mod manifest;
mod mesh;
pub mod netns;
mod policy;
pub mod process;
mod proxy;
mod runtime;
mod scripted;
mod switch;
mod tally;
mod wait;
mod world;

pub use admin::Admin;
pub use backend::{Backend, Seen};
pub use captured::Captured;
pub use client::{Client, Connection, Response};
pub use control_plane::ControlPlane;
pub use fake_control_plane::{FakeControlPlane, FakeStream};
pub use fake_proxy::{FakeProxy, hello};
pub use fleet::Fleet;
pub use folder::{Folder, MANIFEST};
pub use http2_backend::{Call, Http2Backend, Http2Options};
pub use http2_client::{Http2Client, Http2Response};
pub use load::Load;
pub use loopback::{dead_address, fresh_ip, fresh_vip};
pub use manifest::{EndpointManifest, Service};
pub use mesh::Mesh;
pub use policy::{Policy, built, component, sha256};
pub use proxy::Proxy;
pub use runtime::runtime;
pub use scripted::Scripted;
pub use switch::Switch;
pub use tally::Tally;
pub use wait::{PATIENCE, eventually, until};
pub use world::{core_service, endpoint, item, snapshot_of};

//! The real Kubernetes to test with.
//!
//! An [`ApiServer`] has no nodes: pods are said to run and nothing runs them. A [`Cluster`] has one, and needs root.
//!
//! [`ApiServer::shared`] is one for all tests of a binary, each in a [`ApiServer::namespace`] of its own; whoever stops the
//! server, or changes what is not in a namespace, starts one: [`ApiServer::start`]. Etcd, API server and controllers run
//! on a loopback address that nobody else uses, with RBAC and admission as clusters have them, and their real binaries come
//! from `KUBEBUILDER_ASSETS`; `cargo xtask kube` prints a folder for it.

mod api_server;
mod assets;
mod cluster;
mod coredns;
mod fakes;
mod faulty;
mod flags;
mod ground;
mod image;
mod installation;
mod kubeconfig;
mod kubectl;
mod named;
mod node;
mod pki;
mod product;
mod realm;
mod ways;

pub use api_server::ApiServer;
pub use cluster::Cluster;
pub use coredns::CoreDns;
pub use fakes::FakePod;
pub use faulty::{Fault, FaultyServer};
pub use image::Image;
pub use installation::{Installation, NAMESPACE};
pub use named::Named;
pub use product::VERSION;

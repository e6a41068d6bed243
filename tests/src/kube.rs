//! The real API server of Kubernetes to test with, without nodes: pods are said to run and nothing runs them.
//!
//! [`ApiServer::shared`] is one for all tests of a binary, each in a [`ApiServer::namespace`] of its own; whoever stops the
//! server, or changes what is not in a namespace, starts one: [`ApiServer::start`]. Etcd, API server and controllers run
//! on a loopback address that nobody else uses, with RBAC and admission as clusters have them, and their real binaries come
//! from `KUBEBUILDER_ASSETS`; `cargo xtask kube` prints a folder for it.

mod api_server;
mod assets;
mod fakes;
mod flags;
mod ground;
mod kubeconfig;
mod kubectl;
mod pki;
mod ways;

pub use api_server::ApiServer;
pub use fakes::FakePod;

//! A cluster to look at: for people, by hand.

use std::io::read_to_string;

use wasmesh_tests::kube::Cluster;

use crate::{
    story::{CLIENT, WEB},
    town::{Town, install},
};

/// `cargo test -p wasmesh-tests --features cluster --test cluster -- --ignored --nocapture look`, and then `kubectl` with what it
/// prints, until the end of its input.
#[test]
#[ignore = "for people who want to look at a mesh in a cluster"]
fn look_at_a_mesh_until_the_end_of_input() {
    let cluster = Cluster::start();
    install(&cluster);
    let town = Town::new(&cluster, "look");
    town.apply(WEB);
    town.settled("web");
    town.apply(CLIENT);
    eprintln!("export KUBECONFIG={}", cluster.kubeconfig().display());
    read_to_string(std::io::stdin()).unwrap();
}

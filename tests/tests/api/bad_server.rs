//! An API server on its bad days: what is known goes on being served, and what comes after is seen.

use std::time::Duration;

use wasmesh_tests::{
    eventually,
    kube::{ApiServer, Fault, FaultyServer, Installation},
};

use crate::mesh::{service, slice, until_published};

#[test]
fn whatever_the_server_answers_what_is_known_is_served_and_what_changes_is_seen_later() {
    let mut server = ApiServer::start();
    server.start_controllers();
    let installation = Installation::on(&server);
    // Makes the certificates.
    drop(installation.ready_control_plane("first", &[]));
    let faulty = FaultyServer::before(&server);
    let mut control_plane = Installation::control_plane_of(&faulty.kubeconfig(), "patient", &[]);
    eventually("the control plane is ready", || control_plane.admin().is_ready().then_some(()));
    server.kubectl(&["create", "namespace", "shop"], "");
    server.apply(&service("shop", "web"));
    server.apply(&slice("shop", "web", "web", &["10.244.1.1"]));
    until_published(&control_plane, "shop/web", &["10.244.1.1:8080"]);
    let faults = [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(410),
        Fault::Status(401),
        Fault::Cut,
        Fault::Garbage,
        Fault::Slow(Duration::from_secs(1)),
    ];
    for (day, fault) in (2..).zip(faults) {
        faulty.set(fault);
        // Watches that are open are not spoilt: have them opened anew.
        faulty.close_all();
        faulty.until_asked(12);
        let before = format!("10.244.1.{}:8080", day - 1);
        until_published(&control_plane, "shop/web", &[&before]);
        assert!(control_plane.is_running() && control_plane.admin().is_ready(), "{fault:?}");
        let address = format!("10.244.1.{day}");
        server.apply(&slice("shop", "web", "web", &[&address]));
        faulty.set(Fault::None);
        until_published(&control_plane, "shop/web", &[&format!("{address}:8080")]);
    }
    eventually("nothing is wrong any more", || {
        let problems = control_plane.admin().json("/debug/problems");
        problems["problems"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
}

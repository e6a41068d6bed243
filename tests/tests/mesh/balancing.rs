//! Who gets the requests.

use std::collections::BTreeSet;

use wasmesh_tests::{Backend, Mesh, Service, eventually};

#[test]
fn every_endpoint_is_served() {
    let backends = Backend::several::<3>();
    let mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    let tally = mesh.spread("http://web/", 90);
    for backend in &backends {
        assert!(tally[backend] > 0, "{tally:?}");
    }
}

#[test]
fn every_policy_serves_by_annotation_and_is_named_on_the_debug_page() {
    for policy in ["round-robin", "random", "least-request", "peak-ewma", "ring-hash", "maglev"] {
        let backends = Backend::several::<2>();
        let mesh = Mesh::of([Service::new("web").policy(policy).endpoints(&backends)]);
        let hit: BTreeSet<_> =
            (0..64).flat_map(|path| mesh.spread(&format!("http://web/{path}"), 1).backends()).collect();
        assert_eq!(hit.len(), 2, "{policy} leaves an endpoint out");
        assert_eq!(mesh.service("default/web").unwrap()["ports"][0]["policy"], policy);
    }
}

#[test]
fn round_robin_is_even() {
    let backends = Backend::several::<3>();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints(&backends)]);
    // One connection is one worker, and each worker goes round by itself.
    let tally = mesh.spread("http://web/", 90);
    for backend in &backends {
        assert_eq!(tally[backend], 30, "{tally:?}");
    }
}

#[test]
fn hash_policies_keep_a_path_on_its_endpoint_whatever_the_query() {
    for policy in ["ring-hash", "maglev"] {
        let backends = Backend::several::<5>();
        let mesh = Mesh::of([Service::new("web").policy(policy).endpoints(&backends)]);
        for path in 0..16 {
            let first = mesh.get(&format!("http://web/item/{path}")).backend();
            for query in 0..4 {
                // Each on a connection of its own, so on either worker.
                assert_eq!(mesh.get(&format!("http://web/item/{path}?q={query}")).backend(), first, "{policy}");
            }
        }
    }
}

#[test]
fn an_unknown_policy_is_reported_and_the_default_serves() {
    let backends = Backend::several::<2>();
    let mesh = Mesh::of([Service::new("web").policy("fastest").endpoints(&backends)]);
    mesh.spread("http://web/", 10);
    assert_eq!(mesh.service("default/web").unwrap()["ports"][0]["policy"], "least-request");
    let problems = eventually("the problem is listed", || {
        let problems = mesh.control_plane.admin().page("/debug/problems").text();
        problems.contains("fastest").then_some(problems)
    });
    assert!(problems.contains("wasmesh.io/policy") && problems.contains("least-request"), "{problems}");
}

#[test]
fn requests_of_one_connection_are_balanced_one_by_one() {
    let backends = Backend::several::<2>();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints(&backends)]);
    let mut client = mesh.client();
    let answers: Vec<_> = (0..4).map(|_| client.get("http://web/").backend()).collect();
    assert_ne!(answers[0], answers[1]);
    assert_eq!(answers[..2], answers[2..]);
}

#[test]
fn a_slow_endpoint_gets_less_by_least_request() {
    let [slow, fast] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoints([&slow, &fast])]);
    slow.hold();
    let load = mesh.load("http://web/", 4);
    // Whoever is stuck with the slow one counts as its load, so at most one more joins each of them.
    load.wait_answered(500);
    assert!(slow.requests() <= 4, "{} requests went to the endpoint that does not answer", slow.requests());
    slow.release();
    load.finish_without_error();
}

#[test]
fn without_an_endpoint_the_answer_is_503_and_says_so() {
    let mesh = Mesh::of([Service::new("web")]);
    let response = mesh.get("http://web/");
    assert_eq!((response.status, response.wasmesh_error()), (503, Some("no-endpoints")), "{response:?}");
}

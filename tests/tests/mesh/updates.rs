//! Changes of a mesh that is in use.

use wasmesh_tests::{Backend, Load, Mesh, Service, fresh_vip};

const URL: &str = "http://web/";

#[test]
fn an_endpoint_that_is_removed_gets_nothing_once_the_removal_is_acknowledged() {
    let [a, b, gone] = Backend::several();
    for policy in ["round-robin", "least-request", "ring-hash"] {
        let web = || Service::new("web").policy(policy);
        let mesh = Mesh::of([web().endpoints([&a, &b, &gone])]);
        let load = mesh.load(URL, 6);
        load.wait_answered(200);
        mesh.apply([web().endpoints([&a, &b])]);
        load.next_phase();
        let after = load.wait_answered(500);
        load.finish_without_error();
        assert_eq!(after[&gone], 0, "{policy}: {after:?}");
    }
}

#[test]
fn an_endpoint_that_is_added_is_served() {
    let [a, new] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoint(&a)]);
    let load = mesh.load(URL, 2);
    load.wait_answered(50);
    mesh.apply([Service::new("web").endpoints([&a, &new])]);
    load.next_phase();
    assert!(load.wait_answered(100)[&new] > 0);
    load.finish_without_error();
}

#[test]
fn all_endpoints_may_be_replaced_at_once_under_load() {
    let [a, b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoint(&a)]);
    let load = mesh.load(URL, 8);
    for round in 0..20 {
        let now = if round % 2 == 0 { &b } else { &a };
        load.wait_answered(20);
        mesh.apply([Service::new("web").endpoint(now)]);
        load.next_phase();
    }
    load.wait_answered(20);
    load.finish_without_error();
}

#[test]
fn connections_to_an_endpoint_that_is_gone_are_closed() {
    let (closed, told) = std::sync::mpsc::channel();
    let gone = wasmesh_tests::Scripted::start(move |mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let _ = closed.send(connection.read_to_end().unwrap_or_default());
    });
    let stays = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&gone)]);
    mesh.get(URL);
    mesh.apply([Service::new("web").endpoint(&stays)]);
    assert_eq!(told.recv_timeout(wasmesh_tests::PATIENCE), Ok(Vec::new()));
}

#[test]
fn a_response_that_is_under_way_survives_the_removal_of_its_endpoint() {
    let [leaving, stays] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoint(&leaving)]);
    leaving.hold();
    let mut client = mesh.connect();
    client.send("GET http://web/bytes/1000000 HTTP/1.1\r\n\r\n").unwrap();
    wasmesh_tests::until("the request is under way", || leaving.requests() == 1);
    mesh.apply([Service::new("web").endpoint(&stays)]);
    leaving.release();
    assert_eq!(client.response("GET").unwrap().body.len(), 1_000_000);
}

#[test]
fn row_28_a_service_that_is_deleted_falls_through_and_lives_again() {
    let backend = Backend::start();
    let elsewhere = Backend::start();
    // Without the mesh this address is answered by somebody else.
    let vip = elsewhere.address();
    let web = || Service::new("web").vip(vip.ip()).port("real", vip.port());
    let inside = || wasmesh_tests::EndpointManifest::from(&backend).port("real");
    let url = format!("http://{vip}/");
    let mesh = Mesh::of([web().endpoint(inside())]);
    assert_eq!(mesh.get(&url).backend(), backend.address());
    mesh.apply([]);
    assert_eq!(mesh.get(&url).backend(), elsewhere.address());
    mesh.apply([web().endpoint(inside())]);
    assert_eq!(mesh.get(&url).backend(), backend.address());
}

#[test]
fn a_policy_changes_under_load() {
    let backends = Backend::several::<3>();
    let web = |policy| Service::new("web").policy(policy).endpoints(&backends);
    let mesh = Mesh::of([web("ring-hash")]);
    let load = mesh.load(URL, 4);
    assert_eq!(load.wait_answered(60).backends().len(), 1, "one path has one endpoint");
    mesh.apply([web("round-robin")]);
    load.next_phase();
    let tally = load.wait_answered(300);
    load.finish_without_error();
    for backend in &backends {
        assert!(tally[backend] * 6 > tally.total(), "{tally:?}");
    }
}

#[test]
fn a_service_loses_its_last_endpoint_and_gets_one_again() {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    for _ in 0..3 {
        assert_eq!(mesh.get(URL).status, 200);
        mesh.apply([Service::new("web")]);
        assert_eq!(mesh.get(URL).wasmesh_error(), Some("no-endpoints"));
        mesh.apply([Service::new("web").endpoint(&backend)]);
    }
    assert_eq!(mesh.get(URL).status, 200);
}

#[test]
fn row_29_two_services_swap_addresses_and_neither_answers_for_the_other() {
    let [red, blue] = Backend::several();
    let (first, second) = (fresh_vip(), fresh_vip());
    let services = |of_red, of_blue| {
        [Service::new("red").vip(of_red).endpoint(&red), Service::new("blue").vip(of_blue).endpoint(&blue)]
    };
    let mesh = Mesh::of(services(first, second));
    let (to_first, to_second) = (mesh.load(&format!("http://{first}/"), 3), mesh.load(&format!("http://{second}/"), 3));
    for round in 0..10 {
        let (owner_of_first, owner_of_second) = if round % 2 == 0 { (&red, &blue) } else { (&blue, &red) };
        let [tally_first, tally_second] = [&to_first, &to_second].map(|load| load.wait_answered(30));
        assert_eq!(tally_first.backends(), [owner_of_first.address()], "round {round}");
        assert_eq!(tally_second.backends(), [owner_of_second.address()], "round {round}");
        // What is started while the swap is under way may be answered by either.
        [&to_first, &to_second].into_iter().for_each(Load::next_phase);
        if round % 2 == 0 {
            mesh.apply(services(second, first));
        } else {
            mesh.apply(services(first, second));
        }
        [&to_first, &to_second].into_iter().for_each(Load::next_phase);
    }
    to_first.finish_without_error();
    to_second.finish_without_error();
}

#[test]
fn row_29_an_address_is_freed_by_one_service_and_taken_by_another() {
    let [old, new] = Backend::several();
    let vip = fresh_vip();
    let url = format!("http://{vip}/");
    let mesh = Mesh::of([Service::new("old").vip(vip).endpoint(&old)]);
    let load = mesh.load(&url, 4);
    assert_eq!(load.wait_answered(50).backends(), [old.address()]);
    load.next_phase();
    mesh.apply([Service::new("new").vip(vip).endpoint(&new)]);
    load.next_phase();
    assert_eq!(load.wait_answered(50).backends(), [new.address()]);
    load.finish_without_error();
}

//! The control plane goes away; traffic must not notice.

use std::{
    env,
    time::{Duration, Instant},
};

use wasmesh_tests::{Backend, Folder, Load, Mesh, Service, process::Process, until};

/// For how long the control plane stays away at least; `WASMESH_TEST_OUTAGE_SECONDS=60` makes it the full minute.
fn outage() -> Duration {
    let seconds = env::var("WASMESH_TEST_OUTAGE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// Lets a load run through the outage: at least 2,000 requests.
fn sit_out(load: &Load) {
    let since = Instant::now();
    loop {
        load.next_phase();
        load.wait_answered(2_000);
        if since.elapsed() >= outage() {
            return;
        }
    }
}

#[test]
fn a_control_plane_that_is_killed_costs_no_request_and_a_change_made_meanwhile_arrives_after_its_return() {
    let [a, gone, new] = Backend::several();
    let mut mesh = Mesh::of([Service::new("web").endpoints([&a, &gone])]);
    let load = mesh.load("http://web/", 4);
    load.wait_answered(100);
    mesh.control_plane.kill();
    mesh.proxy.wait("the loss is seen", |snapshot| snapshot["connected_to"].is_null());
    mesh.folder.put(&[Service::new("web").endpoints([&a, &new])]);
    sit_out(&load);

    mesh.control_plane.restart();
    mesh.wait_current();
    load.next_phase();
    let after = load.wait_answered(500);
    load.finish_without_error();
    assert_eq!(after[&gone], 0, "{after:?}");
    assert!(after[&new] > 0 && after[&a] > 0, "{after:?}");
}

#[test]
fn a_control_plane_that_is_stopped_and_started_again_and_again_costs_no_request() {
    let backends = Backend::several::<2>();
    let mut mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    let load = mesh.load("http://web/", 4);
    for _ in 0..3 {
        load.next_phase();
        load.wait_answered(200);
        mesh.control_plane.stop();
        load.next_phase();
        load.wait_answered(200);
        mesh.control_plane.restart();
        mesh.wait_current();
    }
    load.finish_without_error();
}

#[test]
fn a_service_that_was_not_in_use_before_the_outage_passes_through_during_it() {
    let [inside, elsewhere] = Backend::several();
    let vip = elsewhere.address();
    let service = Service::new("web").vip(vip.ip()).port("real", vip.port());
    let endpoint = wasmesh_tests::EndpointManifest::from(&inside).port("real");
    let mut mesh = Mesh::with(&["--first-use-wait=0.05"], [service.endpoint(endpoint)]);
    mesh.control_plane.kill();
    mesh.proxy.wait("the loss is seen", |snapshot| snapshot["connected_to"].is_null());
    assert_eq!(mesh.get(&format!("http://{vip}/")).backend(), elsewhere.address());

    // What was asked for meanwhile is asked for again when there is somebody to ask.
    mesh.control_plane.restart();
    until("its endpoints have come", || mesh.get(&format!("http://{vip}/")).backend() == inside.address());
}

#[test]
fn a_control_plane_process_that_is_killed_and_comes_back_costs_no_request() {
    let [a, new] = Backend::several();
    let folder = Folder::default();
    folder.put(&[Service::new("web").endpoint(&a)]);
    let control_plane = Process::control_plane(folder.path(), (wasmesh_tests::fresh_ip(), 0).into());
    let address = control_plane.address("discovery");
    let proxy = Process::proxy(&format!("http://{address}"), &[]);
    until("the proxy is ready", || proxy.admin().is_ready());

    let load = Load::start(proxy.address("http-proxy"), "http://web/", 4);
    load.wait_answered(200);
    control_plane.kill();
    until("the loss is seen", || proxy.admin().json("/debug/snapshot")["connected_to"].is_null());
    folder.put(&[Service::new("web").endpoints([&a, &new])]);
    load.next_phase();
    load.wait_answered(1_000);
    drop(control_plane);

    let _control_plane = Process::control_plane(folder.path(), address);
    until("the new endpoint is served", || new.requests() > 0);
    load.finish_without_error();
}

//! `sessionAffinity: ClientIP`: one pod for all that this sidecar's application sends (SERVICES.md, row 20).

use std::{collections::BTreeSet, net::SocketAddr, thread, time::Duration};

use wasmesh_tests::{Backend, ControlPlane, Folder, Http2Backend, Http2Client, Mesh, Proxy, Service, runtime, until};

fn web<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Service {
    Service::new("web").policy("round-robin").endpoints(backends)
}

/// Who answers requests on so many connections, one after the other.
#[track_caller]
fn answering(mesh: &Mesh, connections: usize) -> BTreeSet<SocketAddr> {
    (0..connections).flat_map(|_| mesh.spread("http://web/", 5).backends()).collect()
}

fn backend_at<'a>(backends: &'a mut [Backend], address: &SocketAddr) -> &'a mut Backend {
    backends.iter_mut().find(|backend| backend.address() == *address).unwrap()
}

#[test]
fn all_requests_go_to_one_pod_whatever_the_worker_connection_or_protocol() {
    let backends: [_; 4] = Backend::several();
    let mesh = Mesh::with(&["--workers=4"], [web(&backends).affinity(10_800)]);
    assert_eq!(answering(&mesh, 20).len(), 1);
    let tally = {
        let load = mesh.load("http://web/", 8);
        let tally = load.wait_answered(500);
        load.finish_without_error();
        tally
    };
    assert_eq!(BTreeSet::from_iter(tally.backends()), answering(&mesh, 1));
}

#[test]
fn connections_are_pinned_like_requests() {
    let backends: [_; 4] = Backend::several();
    let mesh = Mesh::of([web(&backends).app_protocol("tcp").affinity(10_800)]);
    for _ in 0..20 {
        let mut client = mesh.connect();
        client.send("CONNECT web:80 HTTP/1.1\r\n\r\n").unwrap();
        client.head().unwrap();
        client.request("GET", "/", "").unwrap();
    }
    assert_eq!(backends.iter().filter(|backend| backend.connections() > 0).count(), 1);
}

#[test]
fn the_same_pod_is_chosen_again_after_a_restart() {
    let backends: [_; 8] = Backend::several();
    let folder = Folder::default();
    folder.put(&[web(&backends).affinity(10_800)]);
    let control_plane = ControlPlane::start(folder.path());
    let chosen: BTreeSet<_> = (0..5)
        .map(|_| {
            let proxy = Proxy::start(&control_plane.url(), &["--name=web-0"]);
            until("the Service is known", || proxy.service("default/web").is_some());
            proxy.get("http://web/").backend()
        })
        .collect();
    assert_eq!(chosen.len(), 1);
}

#[test]
fn without_affinity_requests_are_spread_again() {
    let backends: [_; 3] = Backend::several();
    let mesh = Mesh::of([web(&backends).affinity(10_800)]);
    assert_eq!(answering(&mesh, 4).len(), 1);
    mesh.apply([web(&backends)]);
    assert_eq!(answering(&mesh, 4).len(), 3);
    mesh.apply([web(&backends).affinity(10_800)]);
    assert_eq!(answering(&mesh, 4).len(), 1);
}

#[test]
fn a_pin_ends_when_it_is_not_used_and_lasts_while_it_is() {
    let backends: [_; 8] = Backend::several();
    let mesh = Mesh::with(&["--workers=1"], [web(&backends).policy("random").affinity(1)]);
    let first = answering(&mesh, 1);
    // The time is the contract here.
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(300));
        assert_eq!(answering(&mesh, 1), first, "it is in use");
    }
    let mut seen = first;
    for _ in 0..12 {
        if seen.len() > 1 {
            return;
        }
        thread::sleep(Duration::from_millis(1100));
        seen.extend(answering(&mesh, 1));
    }
    panic!("the pin never ended: {seen:?}");
}

#[test]
fn a_pod_that_is_taken_away_gives_its_pin_to_another_one() {
    let mut backends = Vec::from(Backend::several::<4>());
    let mesh = Mesh::of([web(&backends).affinity(10_800)]);
    while backends.len() > 1 {
        let pinned = answering(&mesh, 4);
        assert_eq!(pinned.len(), 1);
        backends.retain(|backend| !pinned.contains(&backend.address()));
        let services = web(&backends).affinity(10_800);
        mesh.apply([services]);
        assert!(answering(&mesh, 4).is_disjoint(&pinned));
    }
}

#[test]
fn a_pinned_pod_that_dies_costs_no_request_and_its_successor_is_kept() {
    let mut backends = Vec::from(Backend::several::<3>());
    let mesh = Mesh::of([web(&backends).affinity(10_800)]);
    let pinned = answering(&mesh, 2);
    let load = mesh.load("http://web/", 4);
    load.wait_answered(100);
    let dead = backend_at(&mut backends, pinned.first().unwrap());
    dead.kill();
    load.next_phase();
    load.wait_answered(200);
    load.next_phase();
    let successors = load.wait_answered(500);
    load.finish_without_error();
    assert_eq!(successors.backends().len(), 1, "{successors:?}");
    dead.restart();
    assert_eq!(Vec::from_iter(answering(&mesh, 4)), successors.backends(), "no going back");
}

#[test]
fn http2_is_pinned_too() {
    let backends: [_; 4] = Http2Backend::several();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints(&backends).affinity(60)]);
    runtime().block_on(async {
        for _ in 0..5 {
            let client = Http2Client::connect(mesh.http(), "web:80").await.unwrap();
            for _ in 0..10 {
                client.get("/").await.unwrap();
            }
        }
    });
    assert_eq!(backends.iter().filter(|backend| backend.requests() > 0).count(), 1);
}

//! Endpoints that keep failing, with the default settings: no client notices, and hardly a request is spent on them.

use std::{net::SocketAddr, time::Duration};

use wasmesh_tests::{Backend, EndpointManifest, Mesh, Scripted, Service, dead_address, until};

const REQUESTS: usize = 10_000;

/// How many requests have been sent to another endpoint than the first that was picked for them.
fn retries(mesh: &Mesh, service: &str) -> usize {
    mesh.admin().metric("wasmesh_policy_picks_total", &[("service", service), ("reason", "retry")]) as usize
}

/// Two good endpoints and this one: 10,000 requests on 32 kept connections. Returns how many had to be sent again.
#[track_caller]
fn with_one_bad_of_three(service: &str, bad: impl Into<EndpointManifest>) -> usize {
    let good: [_; 2] = Backend::several();
    let mesh = Mesh::of([Service::new(service).endpoints(&good).endpoint(bad)]);
    let load = mesh.load(&format!("http://{service}/"), 32);
    load.wait_answered(REQUESTS);
    load.finish_without_error();
    let retries = retries(&mesh, service);
    eprintln!("{service}: {retries} of {REQUESTS} requests were sent again");
    retries
}

#[test]
fn an_endpoint_that_refuses_connections_is_tried_for_less_than_one_percent() {
    assert!(with_one_bad_of_three("refusing", dead_address()) < REQUESTS / 100);
}

#[test]
fn an_endpoint_that_accepts_and_closes_is_tried_for_less_than_one_percent() {
    let closing = Scripted::start(drop);
    with_one_bad_of_three("closing", &closing);
    assert!(closing.connections() < REQUESTS / 100, "{} connections", closing.connections());
}

#[test]
fn an_endpoint_that_reads_and_closes_is_tried_for_less_than_one_percent() {
    let closing = Scripted::start(|mut connection| drop(connection.request_head()));
    with_one_bad_of_three("hanging-up", &closing);
    assert!(closing.connections() < REQUESTS / 100, "{} connections", closing.connections());
}

#[test]
fn an_endpoint_that_resets_connections_in_use_costs_no_get() {
    // Every fourth request of each connection.
    let resetting = Scripted::start(|mut connection| {
        let address = connection.writer().and_then(|socket| socket.local_addr()).unwrap();
        for _ in 0..3 {
            if connection.request_head().is_none() {
                return;
            }
            let _ = connection.send(format!("HTTP/1.1 200 OK\r\nbackend: {address}\r\nContent-Length: 2\r\n\r\nok"));
        }
        connection.request_head();
        connection.reset();
    });
    assert!(
        with_one_bad_of_three("resetting", &resetting) < REQUESTS / 100,
        "it answers most requests, but not enough"
    );
}

#[test]
fn an_endpoint_that_answers_503_is_ejected_and_its_answers_are_passed_on() {
    let unavailable = Scripted::start(|mut connection| {
        while connection.request_head().is_some() {
            let _ = connection.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let good: [_; 2] = Backend::several();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints(&good).endpoint(&unavailable)]);
    let mut client = mesh.client();
    let statuses: Vec<_> = (0..300).map(|_| client.get("http://web/").status).collect();
    let passed_on = statuses.iter().filter(|status| **status == 503).count();
    assert!((5..20).contains(&passed_on), "{passed_on} of 300");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 503)));
}

#[test]
fn plain_errors_of_the_application_eject_nobody() {
    let backends: [_; 2] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    let mut client = mesh.client();
    for _ in 0..50 {
        assert_eq!(client.get("http://web/status/500").status, 500);
    }
    assert!(mesh.endpoints("default/web").iter().all(|endpoint| endpoint["ejected"] == false));
}

fn is_ejected(mesh: &Mesh, address: SocketAddr) -> bool {
    mesh.endpoints("default/healing").iter().any(|e| e["address"] == address.to_string() && e["ejected"] == true)
}

#[test]
fn pauses_grow_and_an_endpoint_that_is_healed_comes_back() {
    let mut backends: [_; 3] = Backend::several();
    let options = ["--ejection-pause=0.1", "--ejection-max-pause=2"];
    let mesh = Mesh::with(&options, [Service::new("healing").endpoints(&backends)]);
    let sick = backends[0].address();
    backends[0].kill();
    let load = mesh.load("http://healing/", 4);
    until("it is ejected", || is_ejected(&mesh, sick));
    let before = retries(&mesh, "healing");
    let start = std::time::Instant::now();
    until("some pauses have passed", || start.elapsed() > Duration::from_secs(2));
    // Pauses of 0.1, 0.2, 0.4, 0.8 and 1.6 s; each ends with one try, or with one for each connection at most.
    let tried = retries(&mesh, "healing") - before;
    assert!(tried <= 25, "tried {tried} times in {:?}", start.elapsed());
    backends[0].restart();
    until("it has come back", || backends[0].requests() > 50);
    load.next_phase();
    let tally = load.wait_answered(2_000);
    load.finish_without_error();
    assert!(tally[&backends[0]] > 300, "{tally:?}");
}

#[test]
fn when_most_are_dead_everything_is_still_tried() {
    let dead: [_; 2] = std::array::from_fn(|_| Scripted::start(drop));
    let good = Backend::start();
    let mesh = Mesh::of([Service::new("web").endpoint(&good).endpoints(&dead)]);
    let load = mesh.load("http://web/", 8);
    load.wait_answered(1_000);
    let before = dead.each_ref().map(Scripted::connections);
    load.wait_answered(3_000);
    load.finish_without_error();
    let after = dead.each_ref().map(Scripted::connections);
    assert!(after.iter().zip(before).all(|(after, before)| *after > before + 20), "{before:?} {after:?}");
}

#[test]
fn all_endpoints_may_fail_for_a_while_and_come_back() {
    let mut backends: [_; 2] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    assert_eq!(mesh.get("http://web/").status, 200);
    backends.iter_mut().for_each(Backend::kill);
    for _ in 0..20 {
        assert_eq!(mesh.get("http://web/").wasmesh_error(), Some("connect-failed"));
    }
    backends.iter_mut().for_each(Backend::restart);
    // At once: who is ejected is better than nobody.
    assert_eq!(mesh.get("http://web/").status, 200);
}

#[test]
fn connections_are_ejected_from_like_requests() {
    let good: [_; 2] = std::array::from_fn(|_| {
        Scripted::start(|mut connection| {
            let _ = connection.send("hello");
        })
    });
    let service = Service::new("tcp-dead").app_protocol("tcp").endpoints(&good).endpoint(dead_address());
    let mesh = Mesh::of([service]);
    for _ in 0..300 {
        let mut client = mesh.connect();
        client.send("CONNECT tcp-dead:80 HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(client.head().unwrap().status, 200);
        assert_eq!(client.read_exactly(5).unwrap(), b"hello");
    }
    assert!(retries(&mesh, "tcp-dead") < 20, "{}", retries(&mesh, "tcp-dead"));
}

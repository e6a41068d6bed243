//! Picks of a live proxy are recorded, and replayed bit for bit.

use std::{
    io::{Cursor, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    thread,
};

use serde_json::{Value, json};
use wasmesh_policy_host::{About, Compiler, Host, HostOptions, Settings};
use wasmesh_policy_recording::{Recording, Replayed, replay};
use wasmesh_tests::{Backend, Mesh, Policy, Service, built, until};

/// A proxy with two workers and a policy that decides.
fn serving(name: &str, policy: Policy, backends: &[Backend]) -> (Mesh, String) {
    let mesh = Mesh::with(&["--workers=2"], [Service::new(name).policy("random").endpoints(backends)]);
    let url = format!("http://{name}.default/");
    until("the Service is used", || mesh.client().try_get(&url).is_ok_and(|response| response.status == 200));
    mesh.apply_policy(policy.target(name));
    until("the policy decides", || {
        let page = mesh.admin().json("/debug/policies");
        page["policies"].as_array().is_some_and(|all| all.iter().any(|state| state["phase"] == "programmed"))
    });
    (mesh, url)
}

/// Asks for a recording and gives the open connection.
fn begin(admin: SocketAddr, query: &str) -> TcpStream {
    open(admin, &format!("recording?{query}"))
}

/// Asks for a debug page and gives the open connection.
fn open(admin: SocketAddr, page: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin).expect("the admin port");
    write!(stream, "GET /debug/{page} HTTP/1.0\r\n\r\n").expect("a request");
    stream
}

/// Status and body.
fn end(mut stream: TcpStream) -> (String, Vec<u8>) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let at = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    let body = answer.split_off(at + 4);
    let head = String::from_utf8(answer).expect("text");
    (head.split(' ').nth(1).expect("a status").to_owned(), body)
}

fn replayed(recording: &Recording, module: &str) -> Replayed {
    let host = Host::start(HostOptions::new(Compiler::InProcess)).expect("a host");
    let module = host.load(&built(module)).expect("a module");
    let head = &recording.head;
    assert_eq!(module.digest().to_string(), head.module);
    let settings = Settings {
        config: head.config.clone(),
        fuel: head.fuel,
        memory_bytes: head.memory_bytes,
        grants: head.grants.into(),
        log: Arc::new(()),
    };
    let policy = wasmesh_policy_host::Policy::prepare(&module, settings, &About::default()).expect("a policy");
    replay(recording, &policy).expect("it can be replayed")
}

#[test]
fn live_picks_replay_bit_for_bit_while_endpoints_change() {
    let backends = Backend::several::<4>();
    // One that asks about load and one that learns from reports.
    for (name, module, picks) in
        [("recorded", "rust/least-request.wasm", 100_000), ("recorded-too", "rust/error-penalty.wasm", 5_000)]
    {
        let (mesh, url) = serving(name, Policy::wasm("mine", module), &backends);
        let admin = mesh.admin().0;
        let load = mesh.load(&url, 4);
        let query = format!("service=default/{name}&picks={picks}&seconds=600");
        let recording = thread::spawn(move || end(begin(admin, &query)));
        for list in [&backends[1..], &backends[..2], &backends[..]] {
            load.next_phase();
            load.wait_answered(picks / 20);
            mesh.apply([Service::new(name).policy("random").endpoints(list)]);
        }
        let (status, body) = recording.join().expect("a recording");
        load.finish_without_error();
        assert_eq!(status, "200");
        let recording = Recording::read(Cursor::new(body)).expect("a recording");
        let end = recording.end.as_ref().expect("an end");
        assert!(recording.is_whole() && recording.picks() == picks, "{}", end.why);
        let went_on = recording.instances.values().filter(|course| course.begun.from.is_some()).count();
        assert!(recording.instances.len() >= 4 && went_on >= 2, "{} of {}", went_on, recording.instances.len());
        let replayed = replayed(&recording, module);
        assert_eq!(
            (replayed.compared, replayed.different, replayed.other_questions),
            (picks as u64, 0, 0),
            "{module}: {:?}",
            replayed.first.first()
        );
    }
}

#[test]
fn what_cannot_be_recorded_is_refused_with_the_reason() {
    let backends = Backend::several::<2>();
    let (mesh, _) = serving("recorded-once", Policy::wasm("mine", "rust/round-robin.wasm"), &backends);
    let admin = mesh.admin().0;
    let refused = |query: &str, expected_status: &str, expected: &str| {
        let (status, body) = end(begin(admin, query));
        let why = String::from_utf8_lossy(&body).into_owned();
        assert!(status == expected_status && why.contains(expected), "{query}: {status} {why}");
    };
    refused("", "400", "which Service?");
    refused("service=recorded-once", "400", "expected NAMESPACE/NAME");
    refused("service=default/recorded-once&picks=0", "400", "picks=0: expected a number from 1 to 10000000");
    refused("service=default/nobody", "404", "knows no Service default/nobody");
    refused(
        "service=default/recorded-once&port=9",
        "404",
        "port 9 of default/recorded-once has no policy of its own, port 80",
    );

    let mut first = begin(admin, "service=default/recorded-once&picks=1000000&seconds=600");
    let mut byte = [0];
    first.read_exact(&mut byte).expect("it has begun");
    refused("service=default/recorded-once", "409", "is being recorded already");
    // Who leaves ends it, though nobody asks for the Service.
    drop(first);
    until("another one can be had", || end(begin(admin, "service=default/recorded-once&seconds=1")).0 == "200");

    let (status, body) = end(begin(admin, "service=default/recorded-once&picks=10&seconds=1"));
    let recording = Recording::read(Cursor::new(body)).expect("a recording");
    assert_eq!((status.as_str(), recording.picks()), ("200", 0));
    assert_eq!(recording.end.expect("an end").why, "its time is up");

    let mut stream = begin(admin, "service=default/recorded-once&seconds=600");
    // The line that says what is recorded comes at once.
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("it has begun");
    mesh.remove_policy("mine");
    let (_, body) = end(stream);
    let last = String::from_utf8(body).expect("text").lines().last().expect("a line").to_owned();
    assert!(last.contains("needed no more"), "{last}");
    until("it is gone", || end(begin(admin, "service=default/recorded-once")).0 == "404");
}

#[test]
fn the_last_picks_are_explained() {
    let backends = Backend::several::<3>();
    let policy = Policy::wasm("mine", "rust/tenant-shards.wasm").config(json!({ "size": 1 }));
    let (mesh, url) = serving("explained", policy, &backends);
    let admin = mesh.admin();
    let page = || {
        let (status, body) = end(open(admin.0, "picks?service=default/explained"));
        assert_eq!(status, "200", "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice::<Value>(&body).expect("JSON")
    };
    let mut connection = mesh.connect();
    for tenant in ["red", "red", "blue"] {
        let answer = connection.request("GET", &url, &format!("x-tenant: {tenant}\r\n")).expect("an answer");
        assert_eq!(answer.status, 200);
    }
    let explained = page();
    let picks = explained["picks"].as_array().expect("picks");
    let [blue, red, also_red] = &picks[..3] else { panic!("three picks") };
    assert_eq!((&explained["port"], &explained["policy"]), (&json!(80), &json!("mine")));
    for pick in [blue, red, also_red] {
        assert_eq!((&pick["by"], &pick["attempt"], &pick["avoid"]), (&json!("policy"), &json!(0), &Value::Null));
        assert_eq!(pick["endpoint"]["in_flight"], 0, "{pick}");
        let (went, next) = (&pick["endpoint"]["address"], &pick["runner_up"]["address"]);
        assert!(went.is_string() && went == &pick["chosen"], "{pick}");
        // The shard has one endpoint: without it the policy goes elsewhere.
        assert!(next.is_string() && next != went, "{pick}");
    }
    let key = |pick: &Value| pick["keys"]["header:x-tenant"].as_str().expect("a hash").to_owned();
    assert_eq!((key(red), &red["endpoint"]["address"]), (key(also_red), &also_red["endpoint"]["address"]));
    assert!(key(blue) != key(red) && key(red).len() == 16 && red["why"] == "shard", "{red}");

    let (status, why) = end(open(admin.0, "picks?service=default/nobody"));
    assert!(status == "404" && String::from_utf8_lossy(&why).contains("knows no Service"), "{status}");
}

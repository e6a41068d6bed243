//! `wasmesh policy record` from an admin server that has a recording, and `wasmesh policy replay` of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by failing")]

use std::{
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use serde_json::{Value, json};
use wasmesh_policy_host::{
    About, Compiler, EndpointView, Health, Host, HostOptions, NoSource, NoStats, Policy, Request, Settings,
};
use wasmesh_policy_recording::{Head, HeardSource, Recorder, Tape};

fn module(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/policies/built/rust").join(name).with_extension("wasm")
}

/// Twenty picks of round robin over three endpoints, as a proxy tells them.
fn recording() -> String {
    let host = Host::start(HostOptions::new(Compiler::InProcess)).unwrap();
    let loaded = host.load(&std::fs::read(module("round-robin")).unwrap()).unwrap();
    let policy = Policy::prepare(&loaded, Settings::default(), &About::default()).unwrap();
    let written = Arc::new(Mutex::new(Vec::new()));
    let paper = Arc::clone(&written);
    let sink = Arc::new(move |piece: Bytes| {
        paper.lock().unwrap().extend_from_slice(&piece);
        true
    });
    let recorder = Recorder::begin(Head::of(&policy, "mine", "default/web", 80, "here"), 20, sink);
    let mut tape = Tape::new(&recorder, 0);
    let mut instance = policy.instance(&About::default()).unwrap();
    let endpoint = |number| EndpointView {
        id: u64::from(number),
        address: ([10, 0, 0, number], 80).into(),
        weight: 1,
        priority: 0,
        zone: "",
        node: "",
        health: Health::Healthy,
        ready_ms: 0,
        labels: &[],
    };
    let list = [1, 2, 3].map(endpoint);
    instance.update(1, 1, &list, tape.listen(Box::new(NoStats))).unwrap();
    tape.begun(None, About::default(), 1, 1, &list);
    for random in 0..30 {
        let (request, source) = (Request { random, ..Request::default() }, HeardSource::new(&NoSource));
        let picked = instance.pick(&request, &source);
        tape.picked(&request, &source, &picked);
    }
    drop(tape);
    let mut bytes = written.lock().unwrap().clone();
    bytes.extend_from_slice(&recorder.progress().last_line());
    String::from_utf8(bytes).unwrap()
}

/// A proxy's admin port that knows one Service and answers this when a recording is wanted.
fn proxy(status: &'static str, recording: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let snapshot = json!({
        "proxy": "here", "ready": true, "connected_to": null, "last_error": null, "control_plane": "http://127.0.0.1:19010",
        "complete": true, "subscriptions": 1, "rejected": [],
        "services": [{ "service": "default/web", "kind": "ClusterIP", "vips": [], "ports": [], "subscribed": true,
            "version": "00", "pod_connections": 0, "note": null }],
    });
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let answer = match head.split_whitespace().nth(1).unwrap() {
                "/debug/snapshot" => format!("HTTP/1.0 200 OK\r\n\r\n{snapshot}"),
                "/debug/recording?service=default/web&picks=20&seconds=60" => {
                    format!("HTTP/1.0 {status}\r\n\r\n{recording}")
                }
                "/debug/picks?service=default/web&last=1" | "/debug/picks?service=default/web&last=10" => {
                    format!("HTTP/1.0 {status}\r\n\r\n{recording}")
                }
                other => format!("HTTP/1.0 500 no\r\n\r\n{other} is not expected"),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    addr
}

fn policy(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_wasmesh")).arg("policy").args(args).output().unwrap();
    (status.code(), String::from_utf8([stderr, stdout].concat()).unwrap())
}

fn record(admin: &str, file: &Path) -> (Option<i32>, String) {
    policy(&["record", "web", "--picks", "20", "--file", file.to_str().unwrap(), "--admin", admin])
}

#[test]
fn what_was_recorded_is_replayed_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.jsonl");
    let (code, said) = record(&proxy("200 OK", recording()), &file);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("20 picks of default/web port 80, policy mine, by 1 instance;"), "{said}");

    let (code, said) = policy(&["replay", module("round-robin").to_str().unwrap(), file.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&report["same_module"], &report["compared"], &report["different"]),
        (&json!(true), &json!(20), &json!(0))
    );
    assert!(said.contains("20 picks, all decided the same"), "{said}");

    let (code, said) = policy(&["replay", module("least-request").to_str().unwrap(), file.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{said}");
    for expected in
        ["is another module", "decided otherwise", "10.0.0.2:80 (chosen) -> 10.0.0.1:80 (chosen)", "the first: {"]
    {
        assert!(said.contains(expected), "{said} lacks {expected}");
    }
}

#[test]
fn what_goes_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.jsonl");
    let why = "default/web has no policy of its own: the built-in ones cannot be recorded\n".to_owned();
    std::fs::write(&file, "of before").unwrap();
    let (code, said) = record(&proxy("404 Not Found", why), &file);
    assert!(code == Some(1) && said.contains("has no policy of its own"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of before");

    let whole = recording();
    let cut = whole[..whole.len() * 2 / 3].to_owned();
    let (code, said) = record(&proxy("200 OK", cut), &file);
    assert!(code == Some(1) && said.contains("was cut off after"), "{said}");
    let (code, said) = policy(&["replay", module("round-robin").to_str().unwrap(), file.to_str().unwrap()]);
    assert!(code == Some(0) && said.contains("the recording was cut off"), "{said}");

    let (code, said) =
        policy(&["replay", module("round-robin").to_str().unwrap(), module("least-request").to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("is no recording"), "{said}");
}

#[test]
fn the_last_picks_are_shown() {
    let endpoint = |number: u8, in_flight: u8| json!({ "address": format!("10.0.0.{number}:80"), "in_flight": in_flight, "latency_us": 1_500, "failure_rate": 7 });
    let pick = json!({
        "ago_ms": 1_200, "by": "policy", "why": "chosen", "attempt": 1, "keys": { "path": "0123456789abcdef", "header:a": null },
        "avoid": "10.0.0.3:80", "endpoint": endpoint(1, 4), "chosen": "10.0.0.1:80", "alternate": null,
        "runner_up": endpoint(2, 5), "worker": 0, "family": "IPv4",
    });
    let page = json!({
        "service": "default/web", "port": 80, "policy": "mine", "module": "ab".repeat(32), "decided": 9, "fallbacks": 1,
        "reads_strings": true, "copyable": true, "silent_workers": 1, "picks": [pick],
    });
    let admin = proxy("200 OK", page.to_string());
    let (code, said) = policy(&["explain", "web", "--last", "1", "--admin", &admin]);
    assert_eq!(code, Some(0), "{said}");
    let expected = "\
default/web port 80, policy mine (module abababababab): 9 picks, 1 left to the built-in one
too busy to answer, so that their picks are missing: 1 of the workers
AGO   GIVEN                                             ENDPOINT     LOAD       RUNNER-UP    ITS-LOAD   BY      WHY
1.2s  header:a=,path=012345,attempt=2,not=10.0.0.3:80  10.0.0.1:80  4/1.5ms/7  10.0.0.2:80  5/1.5ms/7  policy  chosen
load: ";
    let spaces = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(spaces(&said).starts_with(&spaces(expected)), "{said}");
    assert!(said.contains("it cannot be asked who was next"), "{said}");
    let (_, said) = policy(&["explain", "web", "--last", "1", "--admin", &admin, "--output", "json"]);
    let shown: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(shown["picks"].as_array().unwrap().len(), 1);

    let (code, said) = policy(&["explain", "web", "--admin", &proxy("404 Not Found", "web has none".to_owned())]);
    assert!(code == Some(1) && said.contains("web has none"), "{said}");
}

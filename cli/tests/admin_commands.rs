//! `wasmesh status` and `wasmesh endpoints` against admin servers that answer canned pages.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    thread,
};

use serde_json::{Value, json};

/// A target and what is answered there.
type Page = (&'static str, fn() -> Value);

/// What came of a command.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn wasmesh(args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_wasmesh")).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Answers on a port of its own for as long as the test lasts: `answer` maps a target to a whole response.
fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let _ = stream.write_all(answer(head.split_whitespace().nth(1).unwrap()).as_bytes());
        }
    });
    addr
}

/// An admin server with these pages.
fn admin(pages: &'static [Page]) -> String {
    let answer = move |target: &str| match pages.iter().find(|(path, _)| *path == target) {
        Some((_, page)) => response("200 OK", &page().to_string()),
        None => response("404 Not Found", "nothing"),
    };
    serve(answer).to_string()
}

fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn proxy() -> String {
    admin(&[
        ("/debug/snapshot", proxy_snapshot),
        ("/debug/endpoints", podinfo_endpoints),
        ("/debug/endpoints?service=default/podinfo", podinfo_endpoints),
        ("/debug/endpoints?service=shop/empty", || json!({ "services": [] })),
    ])
}

fn proxy_snapshot() -> Value {
    let port = |name: &str, reachable: &[&str]| {
        json!({
            "name": name, "port": 80, "transport": "Tcp", "protocol": "Http1", "policy": "least-request",
            "reachable": reachable,
        })
    };
    json!({
        "proxy": "client", "ready": true, "connected_to": null, "last_error": "connection refused",
        "control_plane": "http://127.0.0.1:19010", "complete": true, "subscriptions": 2,
        "rejected": [{ "service": "shop/bad", "version": "00ff", "reason": "a taken address" }],
        "services": [
            { "service": "default/podinfo", "kind": "ClusterIP", "vips": ["10.0.0.1"], "subscribed": true,
              "version": "1", "ports": [port("http", &["IPv4"])] },
            { "service": "default/web", "kind": "ClusterIP", "vips": ["10.0.0.2", "fd00::2"], "subscribed": false,
              "version": "2", "ports": [port("", &[])] },
            { "service": "shop/empty", "kind": "Headless", "vips": [], "subscribed": true,
              "version": "3", "ports": [port("", &[])] },
            { "service": "shop/web", "kind": "ExternalName", "vips": [], "subscribed": false,
              "version": "4", "ports": [] },
        ],
    })
}

fn podinfo_endpoints() -> Value {
    let endpoint = |address: &str, candidate: bool, ejected: bool, latency_us: f64| {
        json!({
            "id": "1", "address": address, "zone": "zone-a", "node": "", "weight": 1, "priority": 0,
            "candidate": candidate, "ejected": ejected, "in_flight": 3, "latency_us": latency_us,
        })
    };
    json!({ "services": [{
        "service": "default/podinfo", "port": 80, "port_name": "http", "family": "IPv4", "policy": "least-request",
        "endpoints": [
            endpoint("127.0.2.1:9898", false, false, 0.0),
            endpoint("127.0.1.1:9898", true, false, 2100.0),
            endpoint("127.0.1.2:9898", true, true, 2000000.0),
        ],
    }] })
}

fn control_plane() -> String {
    admin(&[
        ("/debug/snapshot", || {
            json!({ "version": "abcd", "sequence": 7, "services": [{
                "service": "default/podinfo", "kind": "ClusterIP", "vips": ["10.0.0.1"],
                "ports": [{ "name": "http", "port": 80, "policy": "least-request" }],
                "endpoints": [{ "port": "http", "ready": true }, { "port": "http", "ready": false }],
            }] })
        }),
        ("/debug/streams", || {
            json!({ "version": "abcd", "sequence": 7, "streams": [{
                "proxy": "default/client", "namespace": "default", "node": "worker-1", "zone": "", "software": "0.1.0",
                "connected_seconds": 5, "acknowledged": "abcd", "current": false, "subscriptions": 1,
                "rejected": [{ "service": "shop/bad", "version": "00ff", "reason": "a taken address" }],
            }] })
        }),
        (
            "/debug/problems",
            || json!({ "problems": [{ "object": "Service shop/bad", "place": "a.yaml:3", "reason": "no such port" }] }),
        ),
        ("/debug/policies", policies),
    ])
}

fn policies() -> Value {
    let condition =
        |status: bool, reason: &str, message: &str| json!({ "status": status, "reason": reason, "message": message });
    let proxies = |programmed: u64, faults: Value, compared: u64, troubles: Value| {
        json!({
            "subscribed": 40, "programmed": programmed, "modules": {}, "phases": {}, "troubles": troubles,
            "faults": faults, "picks": 1000, "fallbacks": 3, "compared": compared, "disagreed": 7,
        })
    };
    let program = |module: &str| json!({ "module": module.repeat(32), "config": "{}", "fuel": 1000, "memory_mib": 16 });
    let trouble = json!([{ "phase": "rejected", "reason": "no export pick", "count": 12, "proxies": ["a/b", "a/c"] }]);
    json!({ "policies": [
        {
            "policy": "default/builtin", "accepted": condition(true, "Accepted", ""),
            "resolved_refs": condition(true, "ResolvedRefs", ""),
            "serving": { "type": "PeakEWMA", "is_earlier": false, "program": null },
            "targets": [{ "service": "podinfo", "governs": ["http"], "lost": {} }],
            "proxies": proxies(40, json!({}), 0, json!([])), "candidate": null,
        },
        {
            "policy": "default/own", "accepted": condition(true, "Accepted", ""),
            "resolved_refs": condition(false, "RefNotFound", "spec.wasm.source.file x: there is no such file"),
            "serving": { "type": "Wasm", "is_earlier": true, "program": program("a1") },
            "targets": [{ "service": "web", "governs": ["http", "grpc"], "lost": {} }],
            "proxies": proxies(28, json!({ "out of fuel": 1, "trap": 2 }), 0, trouble),
            "candidate": {
                "condition": condition(true, "OnTrial", ""), "mode": "Serve", "percent": 5, "abort_on_faults": 3,
                "program": program("b2"), "proxies": proxies(2, json!({ "trap": 1 }), 100, json!([])),
            },
        },
        {
            "policy": "shop/idle", "accepted": condition(false, "TargetNotFound", "there is no Service web"),
            "resolved_refs": condition(true, "ResolvedRefs", ""), "serving": null, "targets": [],
            "proxies": proxies(0, json!({}), 0, json!([])), "candidate": null,
        },
    ] })
}

#[track_caller]
fn check_error(args: &[&str], expected: &str) {
    let ran = wasmesh(args);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{args:?}: {}", ran.stderr);
    assert!(ran.stderr.starts_with("wasmesh: ") && ran.stderr.contains(expected), "{args:?}: {}", ran.stderr);
}

#[test]
fn status_recognises_a_proxy() {
    let ran = wasmesh(&["status", "--admin", &proxy()]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let expected = "\
proxy          client, ready
control plane  http://127.0.0.1:19010, not connected (connection refused); the last state serves
services       4, endpoints held for 2
rejected: shop/bad, version 00ff: a taken address

SERVICE          KIND          ADDRESSES         PORT     PROTOCOL  POLICY         REACHABLE  AVAILABLE
default/podinfo  ClusterIP     10.0.0.1          80/http  Http1     least-request  IPv4       1/3
default/web      ClusterIP     10.0.0.2,fd00::2  80       Http1     least-request  no         on first use
shop/empty       Headless      -                 80       Http1     least-request  no         0/0
shop/web         ExternalName  -                 -        -         -              -          -
";
    assert_eq!(ran.stdout, expected);
}

#[test]
fn status_recognises_a_control_plane() {
    let ran = wasmesh(&["status", "--admin", &control_plane()]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let expected = "\
control plane  published 7 times, now abcd
services       1
proxies        1 connected, 0 up to date
problems       1
  a.yaml:3: Service shop/bad: no such port
rejected by default/client: shop/bad, version 00ff: a taken address

PROXY           NODE      ZONE  SOFTWARE  CONNECTED  STATE   SUBSCRIPTIONS
default/client  worker-1  -     0.1.0     5s         behind  1

SERVICE          KIND       ADDRESSES  PORT     POLICY         READY
default/podinfo  ClusterIP  10.0.0.1   80/http  least-request  1/2

POLICY           TYPE      MODULE        GOVERNS            STATE           PROGRAMMED  FAULTS                  FALLBACKS  CANDIDATE
default/builtin  PeakEWMA  -             podinfo:http       Accepted        40/40       0                       3          -
default/own      Wasm      a1a1a1a1a1a1  web:http,web:grpc  RefNotFound     28/40       3:1_out_of_fuel,2_trap  3          Serve:5%:b2b2b2b2b2b2:2/40
shop/idle        -         -             -                  TargetNotFound  0/40        0                       3          -
  default/own: RefNotFound: spec.wasm.source.file x: there is no such file
  default/own: rejected by a/b, a/c and 10 more: no export pick
  default/own: candidate faults 1:1_trap
  default/own: candidate disagreed in 7 of 100 picks
  shop/idle: TargetNotFound: there is no Service web
";
    assert_eq!(ran.stdout, expected);
}

#[test]
fn status_for_programs_says_what_it_is_of() {
    let component = |addr: &str| {
        let ran = wasmesh(&["status", "--output", "json", "--admin", addr]);
        serde_json::from_str::<Value>(&ran.stdout).unwrap()
    };
    let (proxy, control_plane) = (component(&proxy()), component(&control_plane()));
    assert_eq!((&proxy["component"], &proxy["snapshot"]["proxy"]), (&json!("proxy"), &json!("client")));
    assert_eq!(control_plane["component"], "control-plane");
    assert_eq!(control_plane["streams"][0]["proxy"], "default/client");
    assert_eq!(control_plane["problems"][0]["reason"], "no such port");
    assert_eq!(control_plane["policies"][1]["policy"], "default/own");
}

#[test]
fn endpoints_are_listed_by_address() {
    let addr = proxy();
    let ran = wasmesh(&["endpoints", "podinfo.default", "--admin", &addr]);
    let expected = "\
default/podinfo port 80 (http), IPv4, least-request
ADDRESS         ZONE    NODE  WEIGHT  PRIORITY  AVAILABLE  IN-FLIGHT  LATENCY
127.0.1.1:9898  zone-a  -     1       0         yes        3          2.1ms
127.0.1.2:9898  zone-a  -     1       0         ejected    3          2.0s
127.0.2.1:9898  zone-a  -     1       0         no         3          -
";
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), expected), "{}", ran.stderr);
    assert_eq!(wasmesh(&["endpoints", "empty", "--admin", &addr]).stdout, "shop/empty has no endpoints\n");
    let ran = wasmesh(&["endpoints", "podinfo", "--output", "json", "--admin", &addr]);
    assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap(), podinfo_endpoints());
}

#[test]
fn endpoints_that_cannot_be_shown_are_explained() {
    let addr = proxy();
    let endpoints = |service, expected| check_error(&["endpoints", service, "--admin", &addr], expected);
    endpoints("podifno", "did you mean default/podinfo?");
    endpoints("zebra", "`wasmesh status` lists the 4 it knows");
    endpoints("web", "in several namespaces, say which: default/web, shop/web");
    endpoints("default/web", "asks for those of a service when the service is first used");
    endpoints("shop/web", "is an ExternalName");
    check_error(&["endpoints", "podinfo", "--admin", &control_plane()], "ask a proxy's admin address");
}

#[test]
fn whoever_is_no_admin_server_is_not_taken_for_one() {
    check_error(&["status", "--admin", "127.0.0.1:1"], "nothing listens on");
    let status = |answer: &str, expected: &str| {
        let answer = answer.to_owned();
        let addr = serve(move |_| answer.clone());
        check_error(&["status", "--admin", &addr.to_string()], expected);
    };
    status("SSH-2.0-OpenSSH_9.2\r\n", "is not a wasmesh admin port: it does not speak HTTP/1.1");
    status("", "is not a wasmesh admin port");
    status(&response("200 OK", "<html>"), "its /debug/snapshot is no JSON");
    status(&response("200 OK", "[]"), "neither a proxy's nor a control plane's");
    status(&response("200 OK", "{\"proxy\":1}"), "runs another version than this wasmesh");
    status(&response("404 Not Found", ""), "it answers /debug/snapshot with status 404");
    status(&response("403 Forbidden", "on loopback only\n"), "on loopback only");
    status("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", "its answer breaks off");
}

#[test]
fn alone_it_helps() {
    let ran = wasmesh(&[]);
    assert!(ran.code == Some(0) && ran.stdout.contains("Usage: wasmesh [COMMAND]"), "{}", ran.stdout);
    assert_eq!(wasmesh(&["--version"]).stdout, concat!("wasmesh ", env!("CARGO_PKG_VERSION"), "\n"));
}

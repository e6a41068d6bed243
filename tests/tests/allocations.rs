//! How often a proxy allocates memory for a request: a figure that no machine's mood changes, so that it can be held.
//!
//! Client and backend allocate nothing per request and everything else rests, so that what the process allocates is the
//! proxy's doing.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

use std::{
    alloc::System,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use wasmesh_tests::{Mesh, Policy, Service, fresh_ip, fresh_vip};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a request over HTTP/1.1 costs now: allocations, and bytes that are allocated.
///
/// Whoever needs more says in the commit what for. Who needs less lowers them, so that it stays.
const EXPECTED: Cost = Cost { allocations: 16.0, bytes: 2737.0 };
/// How far a figure may be off.
const TOLERANCE: f64 = 0.05;

const REQUESTS: u32 = 200;
/// The cheapest round counts: in others a timer or a report may have had its turn.
const ROUNDS: usize = 20;

#[derive(Debug, Clone, Copy)]
struct Cost {
    allocations: f64,
    bytes: f64,
}

#[test]
fn a_request_allocates_as_often_as_it_did() {
    let mesh = mesh();
    let native = measure(&mesh);
    mesh.apply_policy(Policy::wasm("wasm", "rust/least-request.wasm").target("bench"));
    mesh.wait_module(&wasmesh_tests::built("rust/least-request.wasm"));
    let wasm = measure(&mesh);
    println!("built-in: {native:?}; as a module: {wasm:?}; expected: {EXPECTED:?}");
    native.is_about(EXPECTED);
    // A pick allocates nothing, whoever makes it.
    wasm.is_about(native);
}

impl Cost {
    #[track_caller]
    fn is_about(self, expected: Self) {
        for (what, found, expected) in
            [("allocations", self.allocations, expected.allocations), ("bytes", self.bytes, expected.bytes)]
        {
            let is_about = (found - expected).abs() <= expected * TOLERANCE;
            assert!(is_about, "{found} {what} for a request instead of {expected}: see EXPECTED");
        }
    }
}

fn mesh() -> Mesh {
    let backends: Vec<_> = (0..3).map(|_| backend()).collect();
    let service = Service::new("bench").vip(fresh_vip()).port("http", 80).endpoints(backends);
    Mesh::with(&["--workers=1"], [service])
}

fn measure(mesh: &Mesh) -> Cost {
    let mut client = TcpStream::connect(mesh.http()).unwrap();
    let rounds = (0..ROUNDS).map(|_| {
        let region = Region::new(ALLOCATOR);
        (0..REQUESTS).for_each(|_| exchange(&mut client));
        let change = region.change();
        let each = |count: usize| count as f64 / f64::from(REQUESTS);
        Cost { allocations: each(change.allocations + change.reallocations), bytes: each(change.bytes_allocated) }
    });
    let rounds: Vec<_> = rounds.collect();
    rounds.into_iter().min_by(|a, b| a.allocations.total_cmp(&b.allocations)).unwrap()
}

const REQUEST: &[u8] =
    b"GET http://bench.default/bench HTTP/1.1\r\nHost: bench.default\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n";
const BODY: usize = 1024;

/// One request and its whole answer.
fn exchange(client: &mut TcpStream) {
    client.write_all(REQUEST).unwrap();
    let (mut answer, mut length) = ([0; 4096], 0);
    let whole = loop {
        length += client.read(&mut answer[length..]).unwrap();
        let head = answer[..length].windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head.filter(|head| length >= head + 4 + BODY) {
            break head + 4 + BODY;
        }
    };
    assert_eq!(length, whole);
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer[..length]));
}

/// Answers whoever connects, always the same.
fn backend() -> SocketAddr {
    let listener = TcpListener::bind((fresh_ip(), 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().for_each(|client| answer(client.unwrap())));
    address
}

fn answer(mut client: TcpStream) {
    thread::spawn(move || {
        let response = [HEAD, &[b'x'; BODY]].concat();
        let (mut request, mut length) = ([0; 4096], 0);
        while let Ok(read @ 1..) = client.read(&mut request[length..]) {
            length += read;
            if request[..length].ends_with(b"\r\n\r\n") {
                length = 0;
                client.write_all(&response).unwrap();
            }
        }
    });
}

//! gRPC between grpcio and grpcio: all kinds of calls, deadlines, cancellation, failing backends.

use std::path::PathBuf;

use tempfile::TempDir;
use wasmesh_tests::{Captured, Mesh, Scripted, Service, dead_address, fresh_ip};

use crate::python;

const SERVER: &str = include_str!("scripts/grpc_server.py");
const CLIENT: &str = include_str!("scripts/grpc_client.py");

/// A gRPC server, and the file where it notes what ended early.
struct Greeter {
    server: python::Server,
    folder: TempDir,
}

impl Greeter {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let notes = folder.path().join("notes");
        std::fs::write(&notes, "").unwrap();
        let server = python::Server::start(SERVER, &[&fresh_ip().to_string(), notes.to_str().unwrap()]);
        Self { server, folder }
    }

    fn notes(&self) -> PathBuf {
        self.folder.path().join("notes")
    }
}

/// Runs a script against a Service of the mesh.
#[track_caller]
fn run(mesh: &Mesh, script: &str, more: &[&str]) -> String {
    let captured = Captured::to(mesh.http(), "greeter:80");
    let address = captured.address().to_string();
    python::run(&format!("{CLIENT}\n{script}"), &[&[address.as_str()], more].concat())
}

fn mesh_of(greeters: &[&Greeter]) -> Mesh {
    Mesh::of([Service::new("greeter").endpoints(greeters.iter().map(|greeter| greeter.server.address()))])
}

#[test]
fn all_kinds_of_calls_with_metadata_trailers_and_statuses() {
    let greeter = Greeter::start();
    let script = include_str!("scripts/grpc_kinds.py");
    run(&mesh_of(&[&greeter]), script, &[]);
}

#[test]
fn deadlines_and_cancellations_reach_the_server() {
    let greeter = Greeter::start();
    let script = include_str!("scripts/grpc_ends.py");
    run(&mesh_of(&[&greeter]), script, &[greeter.notes().to_str().unwrap()]);
}

#[test]
fn calls_on_one_channel_are_balanced_one_by_one() {
    let greeters = [Greeter::start(), Greeter::start(), Greeter::start()];
    let script = "
client = Client()
answered = collections.Counter()
for _ in range(300):
    reply, call = client.unary.with_call(b'x', timeout=20)
    answered[metadata(call.initial_metadata())['backend']] += 1
assert len(answered) == 3 and min(answered.values()) > 50, answered
";
    run(&mesh_of(&greeters.each_ref()), script, &[]);
}

#[test]
fn a_dead_backend_among_three_is_no_error() {
    let greeters = [Greeter::start(), Greeter::start()];
    let closing = Scripted::start(drop);
    let service = Service::new("greeter").endpoints(greeters.iter().map(|greeter| greeter.server.address()));
    let script = "
client = Client()
for round in range(100):
    calls = [client.unary.future(b'x', timeout=20) for _ in range(10)]
    for call in calls:
        assert call.result() == b'x'
";
    run(&Mesh::of([service.clone().endpoint(dead_address())]), script, &[]);
    run(&Mesh::of([service.endpoint(&closing)]), script, &[]);
}

#[test]
fn an_error_of_the_proxy_is_unavailable_and_says_why() {
    let mesh = Mesh::of([Service::new("greeter").app_protocol("grpc").endpoint(dead_address())]);
    let script = "
client = Client()
for call in [lambda: client.unary(b'x', timeout=20), lambda: list(client.server_stream(b'1', timeout=20))]:
    error = error_of(call)
    assert error.code() is grpc.StatusCode.UNAVAILABLE, error
    assert 'wasmesh: connect-failed' in error.details(), error
";
    run(&mesh, script, &[]);
}

#[test]
fn keepalive_pings_are_answered_while_a_call_is_silent() {
    let greeter = Greeter::start();
    let script = "
client = Client([('grpc.keepalive_time_ms', 100), ('grpc.keepalive_timeout_ms', 2000),
                 ('grpc.http2.max_pings_without_data', 0)])
gate = threading.Event()
def requests():
    yield b'a'
    gate.wait(20)
    yield b'b'
replies = client.echo(requests(), timeout=20)
assert next(replies) == b'a'
time.sleep(1.0)  # Ten pings.
gate.set()
assert list(replies) == [b'b']
";
    run(&mesh_of(&[&greeter]), script, &[]);
}

#[test]
fn a_server_that_goes_down_in_the_middle_of_calls_is_unavailable_and_others_take_over() {
    let (one, other) = (Greeter::start(), Greeter::start());
    let mesh = mesh_of(&[&one, &other]);
    let script = "
client = Client()
gate = threading.Event()
def requests():
    yield b'a'
    gate.wait(20)
streams = [client.echo(requests(), timeout=20) for _ in range(10)]
for stream in streams:
    assert next(stream) == b'a'
import os, signal
os.kill(int(sys.argv[2]), signal.SIGKILL)
ends = collections.Counter()
gate.set()
for stream in streams:
    try:
        list(stream)
        ends['ok'] += 1
    except grpc.RpcError as error:
        ends[error.code().name] += 1
assert ends['ok'] >= 1 and set(ends) == {'ok', 'UNAVAILABLE'}, ends
for _ in range(100):
    assert client.unary(b'x', timeout=20) == b'x'
";
    run(&mesh, script, &[&one.server.id().to_string()]);
}

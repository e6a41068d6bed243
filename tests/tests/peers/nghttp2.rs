//! nghttp2's tools: h2load and nghttp as clients, nghttpd as a backend.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use wasmesh_tests::{Captured, Http2Backend, Http2Options, Mesh, Service, fresh_ip, until};

/// nghttpd with files in a temporary folder; killed when dropped.
struct Nghttpd {
    _folder: TempDir,
    address: SocketAddr,
    process: Child,
}

impl Nghttpd {
    /// Allows so many streams at once on a connection.
    fn start(max_streams: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("small"), "hello from nghttpd\n").unwrap();
        fs::write(folder.path().join("large"), vec![b'n'; 5_000_000]).unwrap();
        let address = SocketAddr::from((fresh_ip(), 8080));
        let mut command = Command::new("nghttpd");
        // Where Debian keeps it, and not on every user's path.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
        command.args(["--no-tls", "--echo-upload", "--trailer", "sum: 42", "-m", &max_streams.to_string()]);
        command.arg("-d").arg(folder.path()).args(["-a", &address.ip().to_string(), "8080"]);
        let process = command.stdout(Stdio::null()).spawn().expect("nghttpd: install nghttp2-server");
        let server = Self { _folder: folder, address, process };
        until("nghttpd listens", || TcpStream::connect(address).is_ok());
        server
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a tool; it must succeed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new("timeout").arg("60").arg(program).args(arguments).output().expect(program);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// So many requests on so many connections with so many streams each. Every one must be answered with 200.
#[track_caller]
fn h2load(mesh: &Mesh, path: &str, requests: usize, connections: usize, streams: usize) {
    let captured = Captured::to(mesh.http(), "web:80");
    let url = format!("http://{}{path}", captured.address());
    let [n, c, m] = [requests, connections, streams].map(|number| number.to_string());
    let report = run("h2load", &["-n", &n, "-c", &c, "-m", &m, &url]);
    let all = format!("{n} total, {n} started, {n} done, {n} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(report.contains(&all) && report.contains(&format!("status codes: {n} 2xx")), "{report}");
}

#[test]
fn requests_of_one_connection_are_spread_over_all_backends() {
    let backends: [_; 3] = Http2Backend::several();
    let mesh = Mesh::of([Service::new("web").policy("round-robin").endpoints(&backends)]);
    h2load(&mesh, "/", 3_000, 1, 100);
    let counts = backends.each_ref().map(Http2Backend::requests);
    assert!(counts.iter().all(|count| (950..=1_050).contains(count)), "{counts:?}");
}

#[test]
fn stream_limits_of_the_backend_cost_no_request() {
    let scripted = Http2Backend::with(Http2Options::default().max_streams(5));
    let nghttpd = Nghttpd::start(5);
    let mesh = Mesh::of([Service::new("web").endpoint(nghttpd.address)]);
    h2load(&mesh, "/small", 5_000, 2, 200);
    let mesh = Mesh::of([Service::new("web").endpoint(&scripted)]);
    h2load(&mesh, "/", 5_000, 2, 200);
    assert!(scripted.most_on_one_connection() <= 5 && scripted.connections() > 2);
}

#[test]
fn many_connections() {
    let backends = [Nghttpd::start(100), Nghttpd::start(100)];
    let mesh = Mesh::of([Service::new("web").endpoints(backends.each_ref().map(|backend| backend.address))]);
    h2load(&mesh, "/small", 10_000, 50, 10);
    h2load(&mesh, "/large", 40, 4, 5);
}

#[test]
fn graceful_restarts_in_mid_load_lose_nothing() {
    let backends: [_; 3] = Http2Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoints(&backends)]);
    let goaways = std::thread::scope(|scope| {
        let load = scope.spawn(|| h2load(&mesh, "/", 20_000, 4, 50));
        let mut goaways = 0;
        let mut next = 500;
        while !load.is_finished() {
            let answered: usize = backends.iter().map(Http2Backend::requests).sum();
            if answered >= next {
                backends[goaways % 3].go_away();
                goaways += 1;
                next += 500;
            }
            std::thread::yield_now();
        }
        load.join().unwrap();
        goaways
    });
    assert!(goaways > 10, "{goaways}");
}

#[test]
fn uploads_and_trailers() {
    let backend = Nghttpd::start(100);
    let mesh = Mesh::of([Service::new("web").endpoint(backend.address)]);
    let captured = Captured::to(mesh.http(), "web:80");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upload");
    fs::write(&file, "something to send\n".repeat(100_000)).unwrap();
    let url = |path: &str| format!("http://{}{path}", captured.address());
    let upload = run("nghttp", &["-d", file.to_str().unwrap(), &url("/echo")]);
    assert_eq!(upload.len(), 1_800_000);
    let verbose = run("nghttp", &["-v", "-n", &url("/small")]);
    assert!(verbose.contains("sum: 42") && verbose.contains(":status: 200"), "{verbose}");
}

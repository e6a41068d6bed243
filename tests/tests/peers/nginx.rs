//! nginx behind the mesh.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command},
};

use tempfile::TempDir;
use wasmesh_tests::{Mesh, Service, fresh_ip, until};

/// An nginx of its own, with its files in a temporary folder; killed when dropped.
struct Nginx {
    folder: TempDir,
    address: SocketAddr,
    process: Child,
}

const LARGE: usize = 20_000_000;

impl Nginx {
    /// `more` goes into its `server` block.
    fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((fresh_ip(), 8080));
        fs::create_dir(folder.path().join("html")).unwrap();
        fs::write(folder.path().join("html/index.html"), "hello from nginx\n").unwrap();
        fs::write(folder.path().join("html/large"), vec![b'n'; LARGE]).unwrap();
        let dir = folder.path().display();
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("  {kind}_temp_path {dir}/{kind};\n"))
            .concat();
        let configuration = format!(
            "daemon off;\nuser root;\nworker_processes 2;\npid {dir}/pid;\nerror_log {dir}/error.log;\n\
             events {{ worker_connections 256; }}\nhttp {{\n{paths}  access_log off;\n  ssi_types text/ssi;\n\
             server {{\n    listen {address};\n    root {dir}/html;\n    add_header backend {address} always;\n    {more}\n  }}\n}}\n"
        );
        fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let process = spawn(&folder);
        let nginx = Self { folder, address, process };
        nginx.wait_up();
        nginx
    }

    fn wait_up(&self) {
        until("nginx listens", || TcpStream::connect(self.address).is_ok());
    }

    /// Asks the master process, as `nginx -s` would.
    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }

    fn workers(&self) -> Vec<String> {
        let pid = self.process.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(str::to_owned).collect()
    }

    fn restart(&mut self) {
        self.process.wait().unwrap();
        self.process = spawn(&self.folder);
        self.wait_up();
    }
}

fn spawn(folder: &TempDir) -> Child {
    let configuration = folder.path().join("nginx.conf");
    let mut command = Command::new("nginx");
    // Where Debian keeps it, and not on every user's path.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    let log = folder.path().join("start.log");
    let command = command.arg("-e").arg(log).arg("-p").arg(folder.path()).arg("-c").arg(configuration);
    command.spawn().expect("nginx: install it")
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers along.
        self.signal("TERM");
        let _ = self.process.wait();
    }
}

fn mesh_of(backends: &[&Nginx]) -> Mesh {
    Mesh::of([Service::new("web").endpoints(backends.iter().map(|nginx| nginx.address))])
}

#[test]
fn keepalive_chunked_large_and_ranges() {
    let nginx = Nginx::start("location /gzip { gzip on; gzip_types *; gzip_min_length 1; alias html/index.html; }");
    let mesh = mesh_of(&[&nginx]);
    let mut client = mesh.connect();
    for _ in 0..5 {
        assert_eq!(client.request("GET", "http://web/", "").unwrap().text(), "hello from nginx\n");
        assert_eq!(client.request("HEAD", "http://web/large", "").unwrap().header("content-length"), Some("20000000"));
        assert_eq!(client.request("GET", "http://web/none", "").unwrap().status, 404);
    }
    let large = client.request("GET", "http://web/large", "").unwrap();
    assert_eq!((large.status, large.body.len()), (200, LARGE));
    let range = client.request("GET", "http://web/large", "Range: bytes=5-9\r\n").unwrap();
    assert_eq!((range.status, range.text().as_str()), (206, "nnnnn"));
    // Compressed as it is sent: nginx does not know how long it will be.
    let chunked = client.request("GET", "http://web/gzip", "Accept-Encoding: gzip\r\n").unwrap();
    assert_eq!(
        (chunked.header("content-encoding"), chunked.header("transfer-encoding")),
        (Some("gzip"), Some("chunked"))
    );
    assert_eq!(chunked.body[..2], [0x1f, 0x8b]);
    assert_eq!(client.request("GET", "http://web/", "").unwrap().status, 200, "the connection is out of step");
}

#[test]
fn an_upload_that_nginx_refuses_by_its_size_is_answered() {
    let nginx = Nginx::start("client_max_body_size 1k;");
    let mesh = mesh_of(&[&nginx]);
    let mut client = mesh.connect();
    client.send("POST http://web/ HTTP/1.1\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n").unwrap();
    let statuses: Vec<_> = std::iter::from_fn(|| client.head().ok().map(|head| head.status)).take(2).collect();
    assert!(statuses.contains(&413), "{statuses:?}");
}

#[test]
fn connections_that_nginx_closes_while_idle_cost_nothing() {
    // Closed after every third request, and soon after it.
    let nginx = Nginx::start("keepalive_requests 3; keepalive_timeout 10ms;");
    let mesh = mesh_of(&[&nginx]);
    let load = mesh.load("http://web/", 4);
    load.wait_answered(2_000);
    load.finish_without_error();
}

#[test]
fn a_graceful_reload_in_mid_traffic_loses_nothing() {
    let (one, other) = (Nginx::start(""), Nginx::start(""));
    let mesh = mesh_of(&[&one, &other]);
    let load = mesh.load("http://web/", 4);
    for _ in 0..5 {
        load.next_phase();
        load.wait_answered(200);
        let before = one.workers();
        one.signal("HUP");
        until("there are new workers, and only new ones", || {
            let now = one.workers();
            !now.is_empty() && now.iter().all(|worker| !before.contains(worker))
        });
    }
    load.finish_without_error();
}

#[test]
fn a_graceful_restart_in_mid_traffic_loses_nothing() {
    let (mut one, other) = (Nginx::start(""), Nginx::start(""));
    let mesh = mesh_of(&[&one, &other]);
    let load = mesh.load("http://web/", 4);
    for _ in 0..3 {
        load.next_phase();
        load.wait_answered(200);
        one.signal("QUIT");
        one.process.wait().unwrap();
        load.next_phase();
        load.wait_answered(200);
        one.restart();
    }
    load.finish_without_error();
}

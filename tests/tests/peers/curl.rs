//! curl, as people call it.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Output},
};

use wasmesh_tests::{Backend, Mesh, Scripted, Service};

/// Runs curl with this proxy; it must succeed.
#[track_caller]
fn curl(proxy: SocketAddr, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = try_curl(proxy, arguments);
    assert!(status.success(), "curl {arguments:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8_lossy(&stdout).into_owned()
}

fn try_curl(proxy: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    // The machine's own settings are not what is tested.
    command.arg("-q").args(["--noproxy", "", "--max-time", "30", "-sS"]);
    command.args(["-x", &format!("http://{proxy}")]).args(arguments);
    command.output().expect("curl: install it")
}

fn web() -> (Backend, Mesh) {
    let backend = Backend::start();
    let mesh = Mesh::of([Service::new("web").vip([10, 96, 77, 1]).endpoint(&backend)]);
    (backend, mesh)
}

#[test]
fn every_name_form_and_the_cluster_ip() {
    let (backend, mesh) = web();
    let names = ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "WEB.Default"];
    let hosts = names.iter().flat_map(|name| [(*name).to_owned(), format!("{name}."), format!("{name}:80")]);
    for host in hosts.chain(["10.96.77.1".to_owned(), "10.96.77.1:80".to_owned()]) {
        assert_eq!(curl(mesh.http(), &[&format!("http://{host}/")]), format!("{}\n", backend.address()), "{host}");
    }
}

#[test]
fn through_a_tunnel() {
    let (backend, mesh) = web();
    for _ in 0..3 {
        assert_eq!(curl(mesh.http(), &["-p", "http://web/"]), format!("{}\n", backend.address()));
    }
    assert_eq!(curl(mesh.http(), &["-p", "http://10.96.77.1/"]), format!("{}\n", backend.address()));
}

#[test]
fn an_upload_comes_back_as_it_was() {
    let (_backend, mesh) = web();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upload");
    let content: Vec<u8> = (0..5_000_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&file, &content).unwrap();
    let back = folder.path().join("back");
    // Large enough for curl to send Expect: 100-continue.
    let upload = format!("@{}", file.display());
    curl(mesh.http(), &["--data-binary", &upload, "-o", back.to_str().unwrap(), "http://web/echo"]);
    assert!(fs::read(&back).unwrap() == content);
    let chunked = ["-H", "Transfer-Encoding: chunked", "-T", file.to_str().unwrap()];
    curl(mesh.http(), &[&chunked[..], &["-o", back.to_str().unwrap(), "http://web/echo"]].concat());
    assert!(fs::read(&back).unwrap() == content);
}

#[test]
fn several_urls_on_one_connection() {
    let (backend, mesh) = web();
    let urls = ["http://web/", "http://web.default/bytes/10000", "http://10.96.77.1/", "http://web/status/204"];
    let format = ["-w", "%{num_connects} ", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null"];
    assert_eq!(curl(mesh.http(), &[&format[..], &urls].concat()), "1 0 0 0 ", "the client's connection is kept");
    assert_eq!(backend.connections(), 1, "the backend's too");
}

#[test]
fn an_offer_of_http2_is_declined() {
    let (backend, mesh) = web();
    assert_eq!(
        curl(mesh.http(), &["--http2", "-w", " %{http_version}", "http://web/"]),
        format!("{}\n 1.1", backend.address())
    );
    assert_eq!(backend.seen()[0].header("upgrade"), None);
}

#[test]
fn head_and_http_1_0() {
    let (_backend, mesh) = web();
    assert!(curl(mesh.http(), &["-I", "http://web/"]).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(curl(mesh.http(), &["-0", "http://web/bytes/3"]), "xxx");
}

#[test]
fn an_error_of_the_proxy_is_told_as_one() {
    let mesh = Mesh::of([Service::new("empty")]);
    let answer = curl(mesh.http(), &["-i", "http://empty/"]);
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("\r\nwasmesh-error: no-endpoints\r\n"), "{answer}");
}

#[test]
fn a_response_that_breaks_off_is_an_error_for_curl() {
    let backend = Scripted::start(|mut connection| {
        connection.request_head();
        let _ = connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    });
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let output = try_curl(mesh.http(), &["http://web/"]);
    // 18: the transfer is partial.
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(18), &b"only this"[..]));
}

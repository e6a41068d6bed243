//! How a proxy ends: it finishes what it has begun.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread::ScopedJoinHandle,
};

use wasmesh_tests::{
    Backend, Client, Connection, ControlPlane, Folder, Mesh, Scripted, Service, process::Process, until,
};

/// A mesh whose proxy is a process.
struct Sidecar {
    backend: Backend,
    _folder: Folder,
    _control_plane: ControlPlane,
    proxy: Process,
}

fn sidecar(options: &[&str]) -> Sidecar {
    let backend = Backend::start();
    let folder = Folder::default();
    folder.put(&[Service::new("web").endpoint(&backend)]);
    let control_plane = ControlPlane::start(folder.path());
    let proxy = Process::proxy(&control_plane.url(), options);
    until("the proxy is ready", || proxy.admin().is_ready());
    Sidecar { backend, _folder: folder, _control_plane: control_plane, proxy }
}

#[test]
fn sigterm_under_load_loses_no_request_and_the_process_ends_when_idle() {
    let mut sidecar = sidecar(&[]);
    let http = sidecar.proxy.address("http-proxy");
    let (answered, ending) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = || {
        let mut client = Client::of(http);
        while !ending.load(Ordering::SeqCst) {
            let kept = client.is_connected();
            match client.try_get("http://web/") {
                Ok(response) => assert_eq!(response.status, 200, "{response:?}"),
                // Closed between two requests: any client must be prepared for that on a kept connection.
                Err(_) if kept => continue,
                // Whoever comes after the end finds nobody.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                Err(error) => panic!("a request on a fresh connection is lost: {error}"),
            }
            answered.fetch_add(1, Ordering::SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        until("the load runs", || answered.load(Ordering::SeqCst) > 300);
        sidecar.proxy.terminate();
        // Clients that keep coming are served; the proxy ends when they stop.
        let at_signal = answered.load(Ordering::SeqCst);
        until("requests are served on, or the proxy has found a quiet moment", || {
            answered.load(Ordering::SeqCst) > at_signal + 50 || workers.iter().all(ScopedJoinHandle::is_finished)
        });
        ending.store(true, Ordering::SeqCst);
    });
    assert!(sidecar.proxy.wait().success());
}

#[test]
fn a_request_that_is_under_way_is_answered_after_sigterm_and_the_answer_closes_the_connection() {
    let mut sidecar = sidecar(&[]);
    sidecar.backend.hold();
    let mut client = Connection::open(sidecar.proxy.address("http-proxy")).unwrap();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    until("the request is under way", || sidecar.backend.requests() == 1);
    sidecar.proxy.terminate();
    // A newcomer is still served.
    until("new connections see the drain", || {
        let Ok(mut other) = Connection::open(sidecar.proxy.address("http-proxy")) else { return false };
        let missing = other.request("GET", "http://127.0.0.1:9/", "");
        missing.is_ok_and(|response| response.header("connection") == Some("close"))
    });
    assert!(sidecar.proxy.is_running());
    sidecar.backend.release();
    let response = client.response("GET").unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(sidecar.proxy.wait().success());
}

#[test]
fn idle_connections_do_not_keep_a_proxy() {
    let mut sidecar = sidecar(&["--drain-timeout=3600"]);
    let mut idle: Vec<_> = (0..10).map(|_| Connection::open(sidecar.proxy.address("http-proxy")).unwrap()).collect();
    idle.iter_mut().take(5).for_each(|client| assert!(client.request("GET", "http://web/", "").is_ok()));
    sidecar.proxy.terminate();
    assert!(sidecar.proxy.wait().success());
    for mut client in idle {
        assert!(client.read_to_end().is_ok_and(|rest| rest.is_empty()));
    }
}

#[test]
fn a_drain_ends_with_its_time() {
    let mut sidecar = sidecar(&["--drain-timeout=0.3"]);
    sidecar.backend.hold();
    let mut client = Connection::open(sidecar.proxy.address("http-proxy")).unwrap();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    until("the request is under way", || sidecar.backend.requests() == 1);
    sidecar.proxy.terminate();
    assert!(sidecar.proxy.wait().success());
    assert!(client.response("GET").is_err());
}

#[test]
fn a_tunnel_is_kept_through_a_drain_until_it_ends() {
    let backend = Scripted::start(|mut connection| {
        while let Ok(byte) = connection.read_exactly(1) {
            let _ = connection.send(byte);
        }
    });
    let mut mesh = Mesh::of([Service::new("db").app_protocol("tcp").endpoint(&backend)]);
    let mut client = mesh.connect();
    client.send("CONNECT db:80 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    mesh.proxy.begin_drain();
    for byte in 0..10u8 {
        client.send([byte]).unwrap();
        assert_eq!(client.read_exactly(1).unwrap(), [byte]);
    }
    assert!(!mesh.proxy.has_ended());
    client.finish().unwrap();
    assert!(client.read_to_end().unwrap().is_empty());
    mesh.proxy.wait_ended();
}

#[test]
fn a_control_plane_ends_at_sigterm_and_says_so_to_its_proxies() {
    let folder = Folder::default();
    let mut control_plane = Process::control_plane(folder.path(), ([127, 0, 0, 1], 0).into());
    let proxy = wasmesh_tests::Proxy::start(&format!("http://{}", control_plane.address("discovery")), &[]);
    proxy.wait("the proxy is connected", |snapshot| snapshot["connected_to"].is_string());
    control_plane.terminate();
    assert!(control_plane.wait().success());
    proxy.wait("the reason is shown", |snapshot| snapshot["last_error"].is_string());
    let endings: BTreeMap<_, _> = proxy.snapshot().as_object().cloned().unwrap_or_default().into_iter().collect();
    assert!(endings["connected_to"].is_null(), "{endings:?}");
}

//! The proxy's own life beside its application: as the first process of its container, and when it is restarted.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
};

use rustix::process::{Pid, Signal, kill_process};
use wasmesh_tests::{Connection, PATIENCE, until};

use crate::{
    echo::echo,
    mesh::{Meshed, addresses},
    pod::{BACKENDS, NODE4, NODE6, POD, PORT, SERVICES, listen},
};

/// A port on which the pod itself serves.
const OWN: u16 = 7003;

fn answers(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut back = [0; 5];
    stream.write_all(b"hello").and_then(|()| stream.read_exact(&mut back)).is_ok() && &back == b"hello"
}

#[test]
fn a_restart_of_the_proxy_cuts_what_it_carried_and_nothing_else() {
    for backend in BACKENDS {
        let mut meshed = Meshed::default();
        let _holder = meshed.pod.hold(&[&[backend], &SERVICES[..]].concat());
        until("the proxy speaks with the holder", || meshed.metric("wasmesh_capture_connected") == 1.0);
        let pod = &meshed.pod;
        POD.into_iter().for_each(|ip| echo(listen(&pod.netns, (ip, OWN).into())));
        let from_pod = |address: SocketAddr| pod.netns.enter(|| TcpStream::connect(address)).unwrap();
        let mut carried = addresses().map(from_pod);
        let nodes = [NODE4, NODE6].map(|node| SocketAddr::new(node.parse::<IpAddr>().unwrap(), PORT));
        let own = POD.map(|ip| SocketAddr::new(ip, OWN));
        let inbound = own.map(|address| pod.cluster.enter(|| TcpStream::connect(address)).unwrap());
        let mut others: Vec<_> = nodes.map(from_pod).into_iter().chain(own.map(from_pod)).chain(inbound).collect();
        assert!(carried.iter_mut().chain(&mut others).all(answers), "{backend}");
        assert_eq!(meshed.metric("wasmesh_tcp_connections_opened_total"), 2.0, "{backend}");
        // As the kernel does for want of memory: without a word.
        meshed.proxy.kill();
        meshed.proxy.wait();
        for stream in &mut carried {
            assert!(!answers(stream), "{backend}: a connection outlives the proxy that carried it");
        }
        assert!(others.iter_mut().all(answers), "{backend}: a connection that the proxy did not carry is cut");
        meshed.restart_proxy();
        until("the proxy speaks with the holder again", || meshed.metric("wasmesh_capture_connected") == 1.0);
        assert!(others.iter_mut().all(answers), "{backend}: a connection is cut when the proxy comes back");
        let pod = &meshed.pod;
        let mut again = addresses().map(|address| pod.netns.enter(|| TcpStream::connect(address)).unwrap());
        assert!(again.iter_mut().all(answers), "{backend}");
        assert_eq!(meshed.metric("wasmesh_tcp_connections_opened_total"), 2.0, "{backend}: carried by the new one");
    }
}

/// The kernel spares the first process whatever it has no handler for.
#[test]
fn as_the_first_process_of_its_container_the_proxy_drains_and_ends_when_told_to() {
    let mut meshed = Meshed::default();
    meshed.proxy.kill();
    meshed.proxy.wait();
    let pod = &meshed.pod;
    let control_plane = &meshed.control_plane;
    let mut proxy = pod.netns.proxy_as_first_process(&control_plane.url(), "first");
    pod.netns.enter(|| control_plane.wait_current("default/first"));
    let [first] = proxy.children()[..] else { panic!("one child") };
    let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");

    let http_proxy = proxy.address("http-proxy");
    let tunnel = &mut pod.netns.enter(|| TcpStream::connect(http_proxy)).unwrap();
    let [destination, _] = addresses();
    write!(tunnel, "CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n\r\n").unwrap();
    let mut head = [0; 1024];
    let length = tunnel.read(&mut head).unwrap();
    assert!(head[..length].starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head[..length]));
    assert!(answers(tunnel));
    kill_process(Pid::from_raw(first as i32).unwrap(), Signal::TERM).unwrap();
    until("new connections see the drain", || {
        let Ok(mut other) = pod.netns.enter(|| Connection::open(http_proxy)) else { return false };
        let missing = other.request("GET", "http://127.0.0.1:9/", "");
        missing.is_ok_and(|response| response.header("connection") == Some("close"))
    });
    assert!(answers(tunnel), "what is open is served while it drains");
    tunnel.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(proxy.wait().success());
}

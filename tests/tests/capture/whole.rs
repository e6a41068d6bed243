//! Proxy, holder and control plane together.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use wasmesh_tests::{PATIENCE, until};

use crate::{
    mesh::{Meshed, addresses, alive, service},
    pod::{BACKENDS, SERVICES, is_refused},
};

fn is_through_the_proxy(meshed: &Meshed) -> bool {
    let before = meshed.metric("wasmesh_tcp_connections_opened_total");
    addresses().into_iter().for_each(|address| drop(say(meshed, address)));
    meshed.metric("wasmesh_tcp_connections_opened_total") >= before + 2.0
}

/// A connection over which something has come back.
fn say(meshed: &Meshed, address: std::net::SocketAddr) -> TcpStream {
    let mut stream = meshed.pod.netns.enter(|| TcpStream::connect(address)).unwrap();
    answers(&mut stream);
    stream
}

fn answers(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

#[test]
fn a_service_is_refused_by_connect_for_as_long_as_it_has_no_endpoint() {
    for backend in BACKENDS {
        let meshed = Meshed::default();
        let _holder = meshed.pod.hold(&[&[backend], &SERVICES[..]].concat());
        until("the proxy speaks with the holder", || meshed.metric("wasmesh_capture_connected") == 1.0);
        assert!(is_through_the_proxy(&meshed), "{backend}");
        meshed.apply(&[service()]);
        for address in addresses() {
            until("connect() is refused", || {
                meshed.pod.netns.enter(|| TcpStream::connect(address)).is_err_and(is_refused)
            });
        }
        // Port 80 of the same Service has none either, in both families.
        until("all four are refused", || meshed.metric("wasmesh_refused_destinations") == 4.0);
        meshed.apply(&[alive()]);
        for address in addresses() {
            until("connect() succeeds", || meshed.pod.netns.enter(|| TcpStream::connect(address)).is_ok());
        }
        assert!(is_through_the_proxy(&meshed), "{backend}");
    }
}

#[test]
fn sigterm_of_the_holder_leaves_open_connections_to_the_proxy_and_sends_new_ones_past_it() {
    for backend in BACKENDS {
        let meshed = Meshed::default();
        let mut holder = meshed.pod.hold(&[&[backend], &SERVICES[..]].concat());
        until("connections are captured", || is_through_the_proxy(&meshed));
        let mut open = addresses().map(|address| say(&meshed, address));
        holder.terminate();
        assert!(holder.wait().success(), "{backend}");
        assert!(!is_through_the_proxy(&meshed), "{backend}");
        open.iter_mut().for_each(answers);
    }
}

#[test]
fn without_its_proxy_a_pod_is_no_worse_off_than_without_the_mesh() {
    for backend in BACKENDS {
        let mut meshed = Meshed::default();
        let mut holder = meshed.pod.hold(&[&[backend], &SERVICES[..]].concat());
        until("the proxy speaks with the holder", || meshed.metric("wasmesh_capture_connected") == 1.0);
        meshed.proxy.kill();
        meshed.proxy.wait();
        for address in addresses() {
            until("connections go past the dead proxy", || {
                meshed.pod.netns.enter(|| TcpStream::connect(address)).is_ok()
            });
            say(&meshed, address);
        }
        meshed.restart_proxy();
        until("connections are captured again", || is_through_the_proxy(&meshed));
        assert!(holder.is_running());
    }
}

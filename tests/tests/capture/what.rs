//! What is captured and what is not.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    thread,
};

use wasmesh_tests::{PATIENCE, until};

use crate::{
    mesh::Meshed,
    pod::{BACKENDS, NODE4, NODE6, POD, PORT, Pod, SERVICES, VIPS, hear, listen, says},
};

fn install(pod: &Pod, backend: &str, options: &[&str]) {
    pod.must_capture(&[&["install", backend], &SERVICES[..], options].concat());
}

#[test]
fn tcp_to_service_addresses_is_captured_and_nothing_else() {
    for backend in BACKENDS {
        let pod = Pod::in_a_cluster_that_answers();
        let _proxy = pod.fake_proxy();
        for vip in VIPS {
            assert_eq!(pod.ask((vip, PORT)).unwrap(), "direct", "{vip} before");
        }
        install(&pod, backend, &[]);
        for vip in VIPS {
            assert_eq!(pod.ask((vip, PORT)).unwrap(), "captured", "{vip} {backend}");
        }
        for node in [NODE4, NODE6] {
            let node: IpAddr = node.parse().unwrap();
            assert_eq!(pod.ask((node, PORT)).unwrap(), "direct", "{node} {backend}");
        }
    }
}

#[test]
fn row_4_udp_is_not_captured() {
    for backend in BACKENDS {
        let pod = Pod::default();
        let _proxy = pod.fake_proxy();
        install(&pod, backend, &[]);
        for (vip, any) in VIPS.into_iter().zip(["0.0.0.0", "::"]) {
            let any = SocketAddr::from((any.parse::<IpAddr>().unwrap(), 7001));
            // An answer must come from whom the client has asked.
            pod.cluster.add_address(&vip.to_string());
            let server = pod.cluster.enter(|| UdpSocket::bind((vip, 7001))).unwrap();
            let echo = thread::spawn(move || {
                let mut bytes = [0; 16];
                let (length, from) = server.recv_from(&mut bytes).unwrap();
                server.send_to(&bytes[..length], from).unwrap();
            });
            let client = pod.netns.enter(|| UdpSocket::bind((any.ip(), 0))).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.connect((vip, 7001)).unwrap();
            client.send(b"hello").unwrap();
            let mut answer = [0; 16];
            assert_eq!(client.recv(&mut answer).unwrap(), 5, "{vip} {backend}");
            echo.join().unwrap();
        }
    }
}

#[test]
fn excluded_ports_and_ranges_pass_and_so_does_the_proxy() {
    for backend in BACKENDS {
        let pod = Pod::in_a_cluster_that_answers();
        pod.cluster_says("direct", 7002);
        let _proxy = pod.fake_proxy();
        let excluded = ["--exclude-outbound-ports=7002", "--exclude-outbound-cidrs=10.96.9.0/24,fd00:96::9:0/112"];
        install(&pod, backend, &excluded);
        for (vip, other) in VIPS.into_iter().zip(["10.96.9.1", "fd00:96::9:1"]) {
            assert_eq!(pod.ask((vip, 7002)).unwrap(), "direct", "{vip}, an excluded port, {backend}");
            let other: IpAddr = other.parse().unwrap();
            assert_eq!(pod.ask((other, PORT)).unwrap(), "direct", "{other}, in an excluded range, {backend}");
            assert_eq!(pod.ask_as_proxy(vip), "direct", "{vip} by the proxy, {backend}");
            assert_eq!(pod.ask_as(65534, vip), "captured", "{vip} by somebody else, {backend}");
        }
    }
}

#[test]
fn row_39_own_addresses_and_inbound_connections_are_untouched() {
    for backend in BACKENDS {
        let pod = Pod::in_a_cluster_that_answers();
        let proxy = pod.fake_proxy();
        install(&pod, backend, &["--include-outbound-cidrs=0.0.0.0/0,::/0"]);
        let own = ["127.0.0.1", "127.3.2.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        for ip in own.into_iter().chain(POD) {
            says(listen(&pod.netns, (ip, 7003).into()), "own");
            assert_eq!(pod.ask((ip, 7003)).unwrap(), "own", "{ip} {backend}");
        }
        for ip in POD {
            let inbound = pod.cluster.enter(|| TcpStream::connect((ip, 7003)).and_then(hear));
            assert_eq!(inbound.unwrap(), "own", "{ip} from outside, {backend}");
        }
        assert_eq!(proxy.each_ref().map(wasmesh_tests::Scripted::connections), [0, 0], "{backend}");
        // All else is captured.
        assert_eq!(pod.ask((NODE4.parse::<IpAddr>().unwrap(), PORT)).unwrap(), "captured", "{backend}");
        assert_eq!(pod.ask((NODE6.parse::<IpAddr>().unwrap(), PORT)).unwrap(), "captured", "{backend}");
    }
}

#[test]
fn names_are_captured_only_towards_the_pods_servers() {
    for backend in BACKENDS {
        let pod = Pod::default();
        pod.cluster_says("direct", 53);
        says(listen(&pod.netns, "127.0.0.1:19053".parse().unwrap()), "names");
        let udp = pod.netns.enter(|| UdpSocket::bind("127.0.0.1:19053")).unwrap();
        thread::spawn(move || {
            let mut bytes = [0; 16];
            while let Ok((_, from)) = udp.recv_from(&mut bytes) {
                let _ = udp.send_to(b"names", from);
            }
        });
        pod.must_capture(&["install", backend, "--dns", "--dns-resolver=10.96.0.10"]);
        let [server, other] = ["10.96.0.10:53", "10.96.0.11:53"].map(|text| text.parse::<SocketAddr>().unwrap());
        assert_eq!(pod.ask(server).unwrap(), "names", "{backend}");
        assert_eq!(pod.ask(other).unwrap(), "direct", "{backend}");
        let client = pod.netns.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(server).unwrap();
        client.send(b"web?").unwrap();
        let mut answer = [0; 16];
        // The answer comes from whom the client has asked, or it would not be taken.
        assert_eq!(client.recv(&mut answer).unwrap(), 5, "{backend}");
    }
}

#[test]
fn what_is_spared_from_tracking_does_not_break_what_is_captured() {
    for backend in BACKENDS {
        for tracking in ["all", "spare-loopback", "only-captured"] {
            let pod = Pod::in_a_cluster_that_answers();
            let _proxy = pod.fake_proxy();
            says(listen(&pod.netns, "127.0.0.1:7003".parse().unwrap()), "own");
            let tracking = format!("--tracking={tracking}");
            install(&pod, backend, &[&tracking]);
            for vip in VIPS {
                assert_eq!(pod.ask((vip, PORT)).unwrap(), "captured", "{vip} {tracking} {backend}");
                assert_eq!(pod.ask_as_proxy(vip), "direct", "{vip} {tracking} {backend}");
            }
            assert_eq!(pod.ask(([127, 0, 0, 1], 7003)).unwrap(), "own", "{tracking} {backend}");
        }
    }
}

/// Tells each connection the address that it comes from.
fn tells_the_source(pod: &Pod, address: SocketAddr) {
    let listener = listen(&pod.cluster, address);
    thread::spawn(move || {
        while let Ok((mut connection, from)) = listener.accept() {
            let _ = connection.write_all(from.ip().to_string().as_bytes());
        }
    });
}

#[test]
fn rows_14_and_15_nodes_and_load_balancers_are_reached_as_ever() {
    let everything = "--include-outbound-cidrs=0.0.0.0/0,::/0";
    for (backend, options) in BACKENDS.into_iter().flat_map(|backend| [(backend, vec![]), (backend, vec![everything])])
    {
        let meshed = Meshed::default();
        let pod = &meshed.pod;
        let (load_balancers, node_port) = (["203.0.113.9", "2001:db8:113::9"], 30_080);
        load_balancers.iter().for_each(|address| pod.cluster.add_address(address));
        let places = [NODE4, NODE6].into_iter().chain(load_balancers);
        let places: Vec<SocketAddr> = places.map(|ip| (ip.parse::<IpAddr>().unwrap(), node_port).into()).collect();
        places.iter().for_each(|place| tells_the_source(pod, *place));
        install(pod, backend, &options);
        for place in places {
            // From the pod itself: through the proxy nobody gets round a source range.
            let pod_ip = POD.into_iter().find(|ip| ip.is_ipv4() == place.is_ipv4()).unwrap();
            assert_eq!(pod.ask(place).unwrap(), pod_ip.to_string(), "{place} {backend} {options:?}");
        }
        let expected = if options.is_empty() { 0.0 } else { 4.0 };
        // One is counted when both sides have ended, which the client need not wait for.
        until("they are counted", || meshed.metric("wasmesh_passthrough_connections_total") == expected);
    }
}

#[test]
fn row_10_pods_are_counted_where_their_addresses_are_captured_and_not_seen_by_default() {
    for backend in BACKENDS {
        let meshed = Meshed::default();
        let pod: SocketAddr = (NODE4.parse::<IpAddr>().unwrap(), PORT).into();
        let talk = || {
            let mut stream = meshed.pod.netns.enter(|| TcpStream::connect(pod)).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
        };
        install(&meshed.pod, backend, &[]);
        talk();
        // A network that balances before us leaves nothing to see in the ranges of Services.
        install(&meshed.pod, backend, &["--include-outbound-cidrs=10.1.0.0/24"]);
        (0..3).for_each(|_| talk());
        until("what is seen is counted", || meshed.metric("wasmesh_pod_connections_total") == 3.0);
    }
}

//! Clients and backends that behave badly, in numbers. CI runs them small; by hand they run as large as the environment says:
//! `WASMESH_DRILL=50000 cargo test -p wasmesh-tests --features netns --test capture -- --nocapture --test-threads=1 drills`. Those
//! that hold their connections need four files for each, half of them in the test: 9000 with the usual 20,000 and no more.

use std::{
    env, fs,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_linger;
use wasmesh_tests::{Connection, EndpointManifest, PATIENCE, Service, netns::Netns, until};

use crate::{
    echo::{Clients, Count},
    mesh::{Meshed, addresses, alive},
    pod::{NODE4, PORT, SERVICES},
};

/// How many connections a drill makes.
fn many(in_ci: usize) -> usize {
    env::var("WASMESH_DRILL").ok().map_or(in_ci, |text| text.parse().expect("WASMESH_DRILL is a number"))
}

/// What the proxy holds.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    resident_kib: usize,
    files: usize,
}

fn footprint(meshed: &Meshed) -> Footprint {
    let process = format!("/proc/{}", meshed.proxy.id());
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident_kib = resident.trim().trim_end_matches(" kB").parse().unwrap();
    Footprint { resident_kib, files: fs::read_dir(format!("{process}/fd")).unwrap().count() }
}

/// Does something so often, from the pod and on several threads.
fn flood(meshed: &Meshed, times: usize, work: impl Fn(usize) + Sync) {
    const THREADS: usize = 16;
    let next = AtomicUsize::new(0);
    meshed.pod.netns.enter(|| {
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= times {
                            return;
                        }
                        work(number);
                    }
                });
            }
        });
    });
}

/// A flood beside which the mesh's own clients lose nothing, and after which the proxy holds no more files than before.
fn drill(meshed: &Meshed, what: &str, times: usize, work: impl Fn(usize) + Sync) {
    let clients = Clients::start(&meshed.pod, &addresses(), 10, 2);
    until("the mesh's own clients talk", || Count::get(&clients.count.live) == 20);
    let before = footprint(meshed);
    let began = Instant::now();
    flood(meshed, times, work);
    let (took, during) = (began.elapsed(), footprint(meshed));
    let count = clients.stop();
    assert_eq!(Count::get(&count.lost), 0, "{what}: the mesh's own clients lose something");
    // The kept ones of the clients are gone as well.
    until("nothing is held any more", || footprint(meshed).files <= before.files);
    let after = footprint(meshed);
    println!(
        "{what}: {times} in {took:.1?}; resident {} -> {} -> {} KiB, files {} -> {} -> {}; others made {} connections and lost none",
        before.resident_kib,
        during.resident_kib,
        after.resident_kib,
        before.files,
        during.files,
        after.files,
        Count::get(&count.new)
    );
}

/// One of very many addresses of Services that nobody has.
fn unknown(number: usize, port: u16) -> SocketAddr {
    let [.., high, low] = number.to_be_bytes();
    (IpAddr::V4(Ipv4Addr::new(10, 96, high | 0x80, low)), port).into()
}

/// The reset may come before connect() has returned, or after.
fn expect_reset(address: SocketAddr) {
    let answer = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read(&mut [0])
    });
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::ConnectionReset, "{address}");
}

#[test]
fn services_without_endpoints_are_refused_by_the_kernel_and_the_proxy_hears_nothing_of_it() {
    let meshed = Meshed::default();
    let _holder = meshed.pod.hold(&SERVICES);
    let dead: SocketAddr = "10.96.1.1:80".parse().unwrap();
    meshed.apply(&[alive(), Service::new("dead").vip(dead.ip())]);
    // Before, the cluster would refuse it. Port 80 of the other Service has no endpoint either, in both families.
    until("the kernel is told", || meshed.metric("wasmesh_refused_destinations") == 3.0);
    let heard = || {
        let asked = || meshed.proxy.admin().metric("wasmesh_connections_refused_total", &[("reason", "no-endpoint")]);
        meshed.pod.netns.enter(asked) + meshed.metric("wasmesh_passthrough_failures_total")
    };
    let before = heard();
    drill(&meshed, "refused by the kernel", many(3000), |_| {
        assert_eq!(TcpStream::connect(dead).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
    assert_eq!(heard(), before);
}

#[test]
fn services_without_endpoints_are_reset_by_the_proxy_where_the_kernel_is_not_told() {
    let meshed = Meshed::default();
    meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
    let dead: SocketAddr = "10.96.1.1:80".parse().unwrap();
    meshed.apply(&[alive(), Service::new("dead").vip(dead.ip())]);
    let times = many(3000);
    drill(&meshed, "refused by the proxy", times, |_| expect_reset(dead));
    assert_eq!(meshed.metric("wasmesh_connections_refused_total"), times as f64);
}

#[test]
fn addresses_that_nobody_has_are_passed_through_and_leave_nothing_behind() {
    let meshed = Meshed::default();
    meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
    let times = many(3000);
    drill(&meshed, "unknown, refused elsewhere", times, |number| {
        expect_reset(unknown(number, 9));
    });
    assert_eq!(meshed.metric("wasmesh_passthrough_failures_total"), times as f64);
}

#[test]
fn addresses_that_never_answer_are_given_up_with_their_clients() {
    let meshed = Meshed::default();
    meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
    swallow(&meshed.pod.cluster, "ip daddr 10.96.128.0/17 tcp dport 9");
    drill(&meshed, "unknown, never answered", many(3000), |number| {
        let stream = TcpStream::connect(unknown(number, 9)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!((&stream).read(&mut [0]).is_err(), "somebody answers");
    });
}

/// Packets like these are lost from now on.
fn swallow(netns: &Netns, packets: &str) {
    let rules = format!(
        "table ip hole {{ chain in {{ type filter hook prerouting priority 0; }}; }}; add rule ip hole in {packets} drop"
    );
    assert!(netns.command("nft").arg(rules).status().unwrap().success());
}

/// A Service with a port of each kind, in front of an echo.
const QUIET: Ipv4Addr = Ipv4Addr::new(10, 96, 1, 2);
const PORTS: [(&str, u16, &str); 3] = [
    ("tcp-quiet", 7001, "bytes by declaration"),
    ("any", 7002, "to be detected"),
    ("http-quiet", 7003, "HTTP by declaration"),
];

fn quiet() -> Service {
    let backend = SocketAddr::new(NODE4.parse().unwrap(), PORT);
    PORTS.into_iter().fold(Service::new("quiet").vip(QUIET), |service, (name, number, _)| {
        service.port(name, number).endpoint(EndpointManifest::from(backend).port(name))
    })
}

#[test]
fn clients_that_never_speak_cost_little_and_others_go_on() {
    let times = many(1000);
    for ((_, port, kind), says) in PORTS.into_iter().map(|port| (port, false)).chain([(PORTS[0], true)]) {
        // Each with a proxy of its own, whose memory nobody has used before.
        let meshed = Meshed::default();
        meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
        meshed.apply(&[alive(), quiet()]);
        let clients = Clients::start(&meshed.pod, &addresses(), 10, 2);
        until("the mesh's own clients talk", || Count::get(&clients.count.live) == 20);
        let before = footprint(&meshed);
        let silent = Mutex::new(Vec::with_capacity(times));
        flood(&meshed, times, |_| {
            let mut stream = TcpStream::connect((QUIET, port)).unwrap();
            if says {
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut [0]).unwrap();
            }
            silent.lock().unwrap().push(stream);
        });
        // Those that speak HTTP speak first: no endpoint is dialled for them.
        let files = if kind.starts_with("HTTP") { times } else { 2 * times };
        // Two newcomers for each of two addresses, with two files each, may have been there before and not be there now.
        until("all are held", || footprint(&meshed).files + 8 >= before.files + files);
        let during = footprint(&meshed);
        drop(silent);
        let count = clients.stop();
        assert_eq!(Count::get(&count.lost), 0, "{kind}");
        until("nothing is held any more", || footprint(&meshed).files <= before.files);
        let each = (during.resident_kib.saturating_sub(before.resident_kib)) as f64 / times as f64;
        println!(
            "{times} clients, {kind}, {}: {each:.1} KiB each; resident {} -> {} -> {} KiB; others made {} connections and lost none",
            if says { "idle after a word" } else { "silent" },
            before.resident_kib,
            during.resident_kib,
            footprint(&meshed).resident_kib,
            Count::get(&count.new)
        );
    }
}

#[test]
fn clients_beyond_the_limit_are_reset_and_those_within_it_go_on() {
    let meshed = Meshed::with(&["--max-connections=200"]);
    meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
    meshed.apply(&[alive(), quiet()]);
    let clients = Clients::start(&meshed.pod, &addresses(), 10, 0);
    until("the mesh's own clients talk", || Count::get(&clients.count.live) == 20);
    let before = footprint(&meshed);
    let connect = || meshed.pod.netns.enter(|| TcpStream::connect((QUIET, 7001)));
    let within: Vec<_> = (0..180).map(|_| connect().unwrap()).collect();
    // Each with its endpoint. One that is not accepted yet would leave room for one of those that are to be reset.
    until("all are held", || footprint(&meshed).files >= before.files + 2 * within.len());
    for _ in 0..50 {
        meshed.pod.netns.enter(|| expect_reset((QUIET, 7001).into()));
    }
    assert_eq!(meshed.metric("wasmesh_connections_over_limit_total"), 50.0);
    drop(within);
    until("there is room again", || connect().and_then(hear_echo).is_ok());
    assert_eq!(Count::get(&clients.stop().lost), 0);
}

fn hear_echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])
}

#[test]
fn a_client_that_never_asks_a_port_of_http_is_let_go() {
    let meshed = Meshed::with(&["--client-idle-timeout=0.2"]);
    meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
    meshed.apply(&[alive(), quiet()]);
    let ended = meshed.pod.netns.enter(|| {
        let mut stream = TcpStream::connect((QUIET, 7003)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.read(&mut [0])
    });
    assert_eq!(ended.unwrap(), 0);
    // On a port of bytes it may be silent for as long as it likes: that is between it and the endpoint.
    let mut patient = meshed.pod.netns.enter(|| TcpStream::connect((QUIET, 7001)).unwrap());
    patient.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    assert_eq!(patient.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// Accepts, and never says a word. Tells how many connections it has.
fn silent_backend(netns: &Netns, address: SocketAddr) -> Arc<AtomicUsize> {
    let accepted = Arc::new(AtomicUsize::new(0));
    let (listener, count) = (netns.listen(address), Arc::clone(&accepted));
    thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            held.push(stream);
            count.store(held.len(), Ordering::Relaxed);
        }
    });
    accepted
}

#[test]
fn a_client_that_gives_a_silent_backend_up_leaves_nothing_behind() {
    let meshed = Meshed::default();
    meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
    let backend = SocketAddr::new(NODE4.parse().unwrap(), 7100);
    let accepted = silent_backend(&meshed.pod.cluster, backend);
    let silent = Service::new("silent").vip(QUIET).port("tcp-silent", 7001);
    meshed.apply(&[alive(), silent.endpoint(EndpointManifest::from(backend).port("tcp-silent"))]);
    let times = many(200);
    drill(&meshed, "silent backend, client gone", times, |_| {
        let mut stream = TcpStream::connect((QUIET, 7001)).unwrap();
        stream.write_all(b"are you there?").unwrap();
        // It ends its side, waits a while, and is gone: what its system would say of it to the next keepalive probe.
        stream.shutdown(Shutdown::Write).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    });
    assert_eq!(accepted.load(Ordering::Relaxed), times);
}

#[test]
fn a_backend_that_never_accepts_is_given_up_and_its_clients_hear_why() {
    let meshed = Meshed::with(&["--connect-timeout=0.2"]);
    meshed.pod.must_capture(&[&["install"], &SERVICES[..]].concat());
    swallow(&meshed.pod.cluster, "ip daddr 10.1.0.2 tcp dport 7101");
    let backend = SocketAddr::new(NODE4.parse().unwrap(), 7101);
    let lost = Service::new("lost").vip(QUIET).port("tcp-lost", 7001).port("http-lost", 7003);
    let endpoint = |port| EndpointManifest::from(backend).port(port);
    meshed.apply(&[alive(), lost.endpoint(endpoint("tcp-lost")).endpoint(endpoint("http-lost"))]);
    let times = many(200).min(2000);
    drill(&meshed, "never accepted, bytes", times, |_| expect_reset((QUIET, 7001).into()));
    drill(&meshed, "never accepted, HTTP", times, |_| {
        let stream = TcpStream::connect((QUIET, 7003)).unwrap();
        let answer = Connection::from_stream(stream).unwrap().request("GET", "/", "").unwrap();
        assert_eq!((answer.status, answer.wasmesh_error()), (503, Some("connect-failed")));
    });
    drill(&meshed, "never accepted, client gone", times, |_| {
        let mut stream = TcpStream::connect((QUIET, 7003)).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    });
}

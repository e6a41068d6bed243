//! `capture run`, by the words on its socket.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
};

use rustix::{process::Uid, thread::set_thread_res_uid};
use wasmesh_tests::{PATIENCE, eventually, process::Process, until};

use crate::pod::{BACKENDS, PORT, Pod, SERVICES, VIPS, is_refused};

/// The words of a proxy.
struct Words {
    stream: BufReader<UnixStream>,
}

impl Words {
    fn connect(pod: &Pod) -> Self {
        let stream = eventually("capture listens", || UnixStream::connect(pod.socket()).ok());
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    fn greet(pod: &Pod) -> Self {
        let mut words = Self::connect(pod);
        words.say("wasmesh-capture 1\n");
        words
    }

    /// Whoever is turned away may be so before it has spoken: then only what it hears counts.
    fn say(&mut self, text: &str) {
        let _ = self.stream.get_mut().write_all(text.as_bytes());
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    fn ask(&mut self, text: &str) -> String {
        self.say(text);
        self.line()
    }
}

fn held(backend: &str) -> (Pod, [wasmesh_tests::Scripted; 2], Process) {
    let pod = Pod::in_a_cluster_that_answers();
    let proxy = pod.fake_proxy();
    let holder = pod.hold(&[&[backend], &SERVICES[..]].concat());
    until_captured(&pod);
    (pod, proxy, holder)
}

fn until_captured(pod: &Pod) {
    for vip in VIPS {
        until("rules are installed", || pod.ask((vip, PORT)).is_ok_and(|who| who == "captured"));
    }
}

#[track_caller]
fn assert_refused(pod: &Pod, address: impl Into<SocketAddr>, what: &str) {
    let address = address.into();
    let start = std::time::Instant::now();
    let connected = pod.netns.enter(|| std::net::TcpStream::connect(address));
    eprintln!("{what}: {address} is refused after {:?}", start.elapsed());
    // By connect() itself, not by what is read from it.
    assert!(connected.is_err_and(is_refused), "{address} {what}");
}

#[test]
fn row_8_what_is_said_to_have_no_endpoint_is_refused_by_connect() {
    for backend in BACKENDS {
        let (pod, _proxy, _holder) = held(backend);
        let mut words = Words::greet(&pod);
        let [v4, v6] = VIPS.map(|vip| SocketAddr::from((vip, PORT)));
        assert_eq!(words.ask(&format!("refuse 1 2\n{v4}\n{v6}\n")), "done 1\n");
        for address in [v4, v6] {
            assert_refused(&pod, address, backend);
            assert_eq!(pod.ask((address.ip(), PORT + 1)).unwrap(), "captured", "another port, {backend}");
            assert_eq!(pod.ask_as_proxy(address.ip()), "direct", "by the proxy, {backend}");
        }
        assert_eq!(words.ask(&format!("refuse 2 1\n{v6}\n")), "done 2\n");
        assert_eq!(pod.ask(v4).unwrap(), "captured", "{backend}");
        assert_refused(&pod, v6, backend);
        assert_eq!(words.ask("refuse 3 0\n"), "done 3\n");
        assert_eq!(pod.ask(v6).unwrap(), "captured", "{backend}");
    }
}

#[test]
fn row_28_a_connection_outlives_the_endpoints_of_its_service() {
    for backend in BACKENDS {
        let pod = Pod::default();
        let _proxy = ["127.0.0.1:19001", "[::1]:19001"].map(|address| {
            crate::echo::echo(pod.netns.listen(address.parse().unwrap()));
        });
        let _holder = pod.hold(&[&[backend], &SERVICES[..]].concat());
        let mut words = Words::greet(&pod);
        assert_eq!(words.ask("refuse 1 0\n"), "done 1\n");
        for (vip, sequence) in VIPS.into_iter().zip(2..) {
            let address = SocketAddr::from((vip, PORT));
            let mut stream = pod.netns.enter(|| std::net::TcpStream::connect(address)).unwrap();
            assert_eq!(words.ask(&format!("refuse {sequence} 1\n{address}\n")), format!("done {sequence}\n"));
            assert_refused(&pod, address, backend);
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"still here\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert_eq!(line, "still here\n", "{address} {backend}");
        }
    }
}

#[test]
fn many_destinations_are_refused_as_one_is() {
    let (pod, _proxy, _holder) = held("--backend=nftables");
    let mut words = Words::greet(&pod);
    let many: String = (0..10_000).map(|n| format!("10.96.{}.{}:{PORT}\n", n / 250 + 1, n % 250 + 1)).collect();
    let start = std::time::Instant::now();
    assert_eq!(words.ask(&format!("refuse 1 10000\n{many}")), "done 1\n");
    eprintln!("10,000 destinations are refused after {:?}", start.elapsed());
    assert_refused(&pod, ([10, 96, 40, 250], PORT), "the last of many");
    assert_eq!(pod.ask((VIPS[0], PORT)).unwrap(), "captured");
}

#[test]
fn what_is_no_message_ends_the_connection_and_nothing_else() {
    let (pod, _proxy, mut holder) = held("--backend=nftables");
    let long = "x".repeat(100_000);
    for nonsense in
        ["GET / HTTP/1.1\r\n", "wasmesh-capture 2\n", "\0\0\0\n", &long, "wasmesh-capture 1\nrefuse 1 99999\n"]
    {
        let mut words = Words::connect(&pod);
        // The other side may have closed before all of it is written.
        let _ = words.stream.get_mut().write_all(nonsense.as_bytes());
        let mut answer = String::new();
        let heard = words.stream.read_line(&mut answer);
        assert!(heard.is_err() || answer.starts_with("error "), "{answer:?} to {nonsense:.40}");
    }
    let mut words = Words::greet(&pod);
    let refused = SocketAddr::from((VIPS[0], PORT));
    assert_eq!(words.ask(&format!("refuse 1 1\n{refused}\n")), "done 1\n");
    assert_refused(&pod, refused, "after nonsense");
    assert!(holder.is_running());
}

#[test]
fn only_the_proxy_and_root_may_speak() {
    let (pod, _proxy, _holder) = held("--backend=nftables");
    // The kernel tells who has connected by thread.
    let say = |uid| {
        let work = || {
            let user = Uid::from_raw(uid);
            set_thread_res_uid(user, user, user).unwrap();
            Words::connect(&pod).ask("hello\n")
        };
        std::thread::scope(|threads| threads.spawn(work).join().unwrap())
    };
    assert_eq!(say(65534), "error only the proxy's user, 19000, and root may speak here\n");
    assert!(say(19_000).starts_with("error expected \"wasmesh-capture 1\""));
}

#[test]
fn rules_that_somebody_has_removed_come_back_with_the_next_word() {
    for (backend, remove) in [
        (BACKENDS[0], "nft flush ruleset"),
        (BACKENDS[1], "iptables -F OUTPUT; iptables -F WASMESH_REFUSE; iptables -X WASMESH_REFUSE"),
    ] {
        let (pod, _proxy, _holder) = held(backend);
        pod.netns.command("sh").args(["-c", remove]).status().unwrap();
        let refused = SocketAddr::from((VIPS[0], PORT));
        let mut words = Words::greet(&pod);
        assert_eq!(words.ask(&format!("refuse 1 1\n{refused}\n")), "done 1\n");
        assert_refused(&pod, refused, backend);
        assert_eq!(pod.ask((VIPS[1], PORT)).unwrap(), "captured", "{backend}");
    }
}

#[test]
fn what_a_vanished_proxy_wanted_refused_is_forgotten() {
    let (pod, _proxy, _holder) = held("--backend=nftables");
    let refused = SocketAddr::from((VIPS[0], PORT));
    let mut words = Words::greet(&pod);
    assert_eq!(words.ask(&format!("refuse 1 1\n{refused}\n")), "done 1\n");
    drop(words);
    assert_refused(&pod, refused, "just after the proxy has left");
    until("it is forgotten", || pod.ask(refused).is_ok_and(|who| who == "captured"));
}

#[test]
fn nothing_is_captured_before_there_is_a_proxy_and_sigterm_drains() {
    for backend in BACKENDS {
        let pod = Pod::in_a_cluster_that_answers();
        let mut holder = pod.hold(&[&[backend], &SERVICES[..]].concat());
        // The socket is there, so it is up and waiting.
        drop(Words::connect(&pod));
        for vip in VIPS {
            assert_eq!(pod.ask((vip, PORT)).unwrap(), "direct", "{vip} {backend}");
        }
        let _proxy = pod.fake_proxy();
        until_captured(&pod);
        holder.terminate();
        assert!(holder.wait().success());
        for vip in VIPS {
            assert_eq!(pod.ask((vip, PORT)).unwrap(), "direct", "{vip} {backend}");
        }
        assert!(!pod.socket().exists());
    }
}

#[test]
fn a_holder_that_was_killed_is_followed_by_another_without_a_gap() {
    let (pod, _proxy, mut holder) = held("--backend=nftables");
    holder.kill();
    holder.wait();
    let _next = pod.hold(&[&["--backend=nftables"], &SERVICES[..]].concat());
    let mut words = Words::greet(&pod);
    words.say("refuse 1 0\n");
    // Until it has answered both the old rules and the new ones may stand; either captures.
    for vip in VIPS {
        assert_eq!(pod.ask((vip, PORT)).unwrap(), "captured", "{vip}");
    }
    assert_eq!(words.line(), "done 1\n");
    assert_eq!(pod.ask((VIPS[0], PORT)).unwrap(), "captured");
}

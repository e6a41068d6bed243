//! What becomes of connections while rules come and go.

use std::time::Instant;

use wasmesh_tests::until;

use crate::{
    echo::{Clients, Count},
    mesh::{Meshed, addresses},
    pod::{BACKENDS, PORT, Pod, SERVICES, VIPS},
};

/// How often rules are installed and drained, or replaced.
const TIMES: usize = 100;

#[test]
fn row_40_rules_installed_and_drained_a_hundred_times_cost_no_connection() {
    for backend in BACKENDS {
        let meshed = Meshed::default();
        let pod = &meshed.pod;
        // Half of those that stay have begun before there were rules, half of them after.
        let mut clients = Clients::start(pod, &addresses(), 125, 1);
        until("connections live", || Count::get(&clients.count.live) == 250);
        let install = [&["install", backend], &SERVICES[..]].concat();
        pod.must_capture(&install);
        clients.add(pod, &addresses(), 125, 1);
        until("connections live", || Count::get(&clients.count.live) == 500);
        let (mut installing, mut draining) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let start = Instant::now();
            pod.must_capture(&["drain"]);
            draining.push(start.elapsed());
            let start = Instant::now();
            pod.must_capture(&install);
            installing.push(start.elapsed());
        }
        pod.must_capture(&["drain"]);
        // All of them have still something to say.
        let rounds = Count::get(&clients.count.rounds);
        until("they talk", || Count::get(&clients.count.rounds) > rounds + 2 * 500);
        let captured = meshed.metric("wasmesh_tcp_connections_opened_total");
        let count = clients.stop();
        let (new, lost) = (Count::get(&count.new), Count::get(&count.lost));
        installing.sort();
        draining.sort();
        eprintln!(
            "{backend}: lost {lost} of 500 that stay and {new} new ones, {captured} through the proxy; \
             install {:?}, drain {:?} (medians, with the start of a debug build)",
            installing[TIMES / 2],
            draining[TIMES / 2]
        );
        assert_eq!(lost, 0, "{backend}");
        let direct = 500.0 + new as f64 - captured;
        assert!(captured > 250.0 && direct > 250.0, "{backend}: both ways were taken: {captured} and {direct}");
    }
}

#[test]
fn nothing_escapes_while_rules_are_replaced() {
    for backend in BACKENDS {
        let pod = Pod::default();
        let _proxy = pod.fake_proxy();
        let install = [&["install", backend], &SERVICES[..]].concat();
        pod.must_capture(&install);
        let (mut asked, done) = (0, std::sync::atomic::AtomicBool::new(false));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                (0..TIMES).for_each(|_| drop(pod.must_capture(&install)));
                done.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for vip in VIPS {
                    // Nobody else would answer: what escapes is refused by the cluster.
                    assert_eq!(pod.ask((vip, PORT)).unwrap(), "captured", "{vip} {backend}, after {asked}");
                    asked += 1;
                }
            }
        });
        eprintln!("{backend}: {asked} connections during {TIMES} replacements, none escaped");
    }
}

#[test]
fn installing_twice_is_installing_once() {
    for (backend, list) in [
        ("--backend=nftables", &["nft", "list", "ruleset"][..]),
        ("--backend=iptables", &["sh", "-c", "iptables-save | grep -v '^#'; ip6tables-save | grep -v '^#'"]),
    ] {
        let pod = Pod::default();
        let rules = || {
            let output = pod.netns.command(list[0]).args(&list[1..]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let install = [&["install", backend, "--exclude-outbound-ports=22"], &SERVICES[..]].concat();
        pod.must_capture(&install);
        let once = rules();
        pod.must_capture(&install);
        assert_eq!(rules(), once, "{backend}");
        pod.must_capture(&["drain"]);
        let drained = rules();
        assert!(!drained.contains("redirect") && !drained.contains("REDIRECT --to-ports"), "{drained}");
        pod.must_capture(&["drain"]);
        assert_eq!(rules(), drained, "{backend}");
        pod.must_capture(&install);
        assert_eq!(rules(), once, "{backend}");
    }
}

#[test]
fn a_drain_without_rules_makes_none() {
    let pod = Pod::default();
    assert_eq!(pod.must_capture(&["drain"]), "nothing is installed\n");
    let rules = pod.netns.command("nft").args(["list", "ruleset"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&rules.stdout), "");
}

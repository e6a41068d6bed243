//! What is said when something is missing.

use std::{net::SocketAddr, process::Command};

use wasmesh_tests::process::binary;

use crate::pod::{PORT, Pod, SERVICES, VIPS};

/// Runs and returns what it says on its way out.
#[track_caller]
fn complaint(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeds");
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn assert_says(said: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is not in: {said}"));
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn without_the_capability_it_says_so_and_what_to_do() {
    let pod = Pod::default();
    for command in ["install", "run", "drain"] {
        let plan: &[&str] = if command == "drain" { &[] } else { &SERVICES };
        let said = complaint(&mut pod.netns.capture_command("-all", &[&[command], plan].concat()));
        assert_says(&said, &["CAP_NET_ADMIN", "effective", "runAsUser: 0", "add: [NET_ADMIN]"]);
    }
}

#[test]
fn printing_needs_no_privilege() {
    let pod = Pod::default();
    for backend in ["nftables", "iptables"] {
        let mut command = pod.netns.capture_command("-all", &["print", "--backend", backend, SERVICES[0]]);
        let output = command.output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("10.96.0.0/16"));
    }
}

#[test]
fn in_the_nodes_namespace_it_refuses_unless_told() {
    let pod = Pod::in_a_cluster_that_answers();
    let _proxy = pod.fake_proxy();
    // A node that is itself a container is known by its kubelet.
    let _kubelet = pod.netns.listen("127.0.0.1:10248".parse().unwrap());
    let install = [&["install"], &SERVICES[..]].concat();
    let output = pod.capture(&install);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_says(&said, &["node's network namespace", "kubelet", "--allow-host-network"]);
    assert_eq!(pod.ask((VIPS[0], PORT)).unwrap(), "direct");
    pod.must_capture(&[&install[..], &["--allow-host-network"]].concat());
    assert_eq!(pod.ask((VIPS[0], PORT)).unwrap(), "captured");
}

#[test]
fn the_first_namespace_of_a_machine_is_known_by_its_settings() {
    // Where the tests run in a container there is nothing to see, and nothing to break.
    if !std::path::Path::new("/proc/sys/net/core/netdev_max_backlog").exists() {
        eprintln!("this is no first network namespace: only the sign of a kubelet can be tested here");
        return;
    }
    let mut command = Command::new(binary("wasmesh-proxy"));
    let said = complaint(command.args(["capture", "install", SERVICES[0]]));
    assert_says(&said, &["node's network namespace", "net.core.netdev_max_backlog", "--allow-host-network"]);
}

/// Hides programs from what runs in the pod, by laying nothing over each in a mount namespace of its own.
fn hiding(pod: &Pod, programs: &str, arguments: &[&str]) -> Command {
    let hide =
        format!("for file in {programs}; do mount --bind /dev/null $(readlink -f $file) || exit; done; exec \"$@\"");
    let mut command = pod.netns.command("unshare");
    command.args(["--mount", "sh", "-c", &hide, "sh"]).arg(binary("wasmesh-proxy"));
    command.arg("capture").args(arguments).env("RUST_BACKTRACE", "0");
    command
}

#[test]
fn without_nft_iptables_is_taken_and_without_both_it_says_what_to_install() {
    let pod = Pod::in_a_cluster_that_answers();
    let _proxy = pod.fake_proxy();
    let install = [&["install"], &SERVICES[..]].concat();
    let output = hiding(&pod, "/usr/sbin/nft", &install).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "installed iptables\n");
    assert_says(&String::from_utf8_lossy(&output.stderr), &["iptables is used instead: nftables: there is no nft"]);
    for vip in VIPS {
        assert_eq!(pod.ask(SocketAddr::from((vip, PORT))).unwrap(), "captured");
    }
    let said =
        complaint(&mut hiding(&pod, "/usr/sbin/nft", &[&["install", "--backend=nftables"], &SERVICES[..]].concat()));
    assert_says(&said, &["no nft in PATH, /usr/sbin or /sbin", "package nftables"]);
    let all = "/usr/sbin/nft /usr/sbin/xtables-nft-multi /usr/sbin/xtables-legacy-multi";
    let said = complaint(&mut hiding(&pod, all, &install));
    assert_says(&said, &["no nft", "package nftables", "no iptables-restore", "package iptables"]);
}

#[test]
fn a_socket_that_cannot_be_had_is_named() {
    let pod = Pod::default();
    let file = pod.shared.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = complaint(
        &mut pod.netns.capture_command("-all,+net_admin", &["run", SERVICES[0], "--socket", file.to_str().unwrap()]),
    );
    assert_says(&said, &["no socket", "--socket"]);
    assert!(file.exists());
}

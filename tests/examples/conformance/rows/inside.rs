//! The pod itself: its address, its neighbours, what belongs to nobody else.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::Command,
};

use serde_json::json;
use wasmesh_tests::{Connection, process::command_line};

use super::Run;
use crate::{
    backends::{self, TELLER, WEB},
    manifests::{port, ready, slice},
};

pub(super) fn row_30_source(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one, two])]);
    for client in &run.cluster.clients {
        for _ in 0..10 {
            assert_eq!(client.told(run.address()).peer, run.ip(client), "whom a backend sees");
        }
    }
}

pub(super) fn row_31_hairpin(run: &Run<'_>) {
    let client = run.client();
    run.apply(&[run.service(json!({})), run.slice_of("a", &[client])]);
    let told = client.told(run.address());
    assert_eq!((&*told.who, told.peer), (client.name, run.ip(client)));
}

pub(super) fn row_32_host_network(run: &Run<'_>) {
    let node = &run.cluster.nodes[1];
    let address = SocketAddr::new(node.ip(run.family), 7000 + u16::from(run.family == crate::family::Family::V6));
    let listener = node.netns.listen(address);
    backends::tell_on(listener, "on-the-node");
    let ports = [port("tcp", address.port())];
    run.apply(&[run.service(json!({})), slice(&run.name, "a", run.family, &ports, &[ready(address.ip())])]);
    for client in &run.cluster.clients {
        assert_eq!(client.who(run.address()), "on-the-node");
    }
}

pub(super) fn row_32_host_network_is_not_injected(run: &Run<'_>) {
    let folder = tempfile::tempdir().unwrap();
    let (file, ca) = (folder.path().join("pods.json"), folder.path().join("ca.pem"));
    let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
    fs::write(&ca, authority.cert.pem()).unwrap();
    let pod = |name: &str, host_network: bool| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": name, "namespace": "shop", "labels": { "wasmesh.io/inject": "enabled" } },
            "spec": { "hostNetwork": host_network, "containers": [{ "name": "app", "image": "app" }] },
        })
    };
    let inject = |name: &str, host_network: bool| {
        fs::write(&file, pod(name, host_network).to_string()).unwrap();
        let mut command = Command::new(command_line());
        command.arg("inject").arg("-f").arg(&file).arg("--ca-bundle").arg(&ca);
        let output = command.args(["--service-cidr", run.family.services()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(inject("of-its-own", false).contains("wasmesh-proxy"), "the control is not injected");
    assert!(!inject("on-the-host", true).contains("wasmesh-proxy"), "a hostNetwork pod is injected");
}

pub(super) fn row_35_environment_variables(run: &Run<'_>) {
    let [one, ..] = run.backends();
    run.apply(&[
        run.service(json!({ "ports": [port("http", 80)] })),
        slice(&run.name, "a", run.family, &[port("http", WEB)], &[ready(run.ip(one))]),
    ]);
    // As the kubelet writes them.
    let host = if run.vip(1).is_ipv6() { "[$ROW_35_SERVICE_HOST]" } else { "$ROW_35_SERVICE_HOST" };
    let script = format!("curl -q -sS --max-time 30 \"http://{host}:$ROW_35_SERVICE_PORT/\"");
    let mut sh = run.client().netns.command("sh");
    sh.args(["-c", &script]).env("ROW_35_SERVICE_HOST", run.vip(1).to_string()).env("ROW_35_SERVICE_PORT", "80");
    let output = sh.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim_end(), format!("one {}", run.ip(run.client())), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(super) fn row_39_untouched(run: &Run<'_>) {
    let [one, ..] = run.backends();
    // The second client has everything captured that may be.
    for (at, client) in run.cluster.clients.iter().enumerate() {
        let seen = || {
            ["wasmesh_passthrough_connections_total", "wasmesh_tcp_connections_opened_total"]
                .map(|metric| run.cluster.metric(at, metric, &[]))
        };
        let before = seen();
        let own = run.ip(client);
        assert_eq!(client.who((run.family.loopback(), TELLER)), client.name, "loopback");
        assert_eq!(client.who((own, TELLER)), client.name, "its own address");
        let inbound = one.told((own, TELLER));
        assert_eq!((&*inbound.who, inbound.peer), (client.name, run.ip(one)), "inbound");
        // The kubelet's probes come from the node.
        let probe = run.cluster.nodes[at].netns.enter(|| TcpStream::connect((own, WEB))).unwrap();
        let answer = Connection::from_stream(probe).and_then(|mut probe| probe.request("GET", "/", "")).unwrap();
        assert!(answer.text().starts_with(client.name), "{answer:?}");
        assert_eq!(seen(), before, "the sidecar of {} has seen some of it", client.name);
    }
    // Everything else of the second client is.
    run.assert_passes(1, 1.0, || drop(run.cluster.clients[1].told((run.ip(one), TELLER))));
}

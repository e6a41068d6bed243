//! What a port is and what is spoken on it.

use std::{
    collections::BTreeSet,
    io,
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};
use wasmesh_tests::Connection;

use super::{Run, found};
use crate::{
    backends::{DATAGRAMS, TELLER, TELLER_TOO, UPGRADES, WEB, WEB_H2},
    cluster::OUTSIDE,
    manifests::{port, ready, service, slice},
    node::Transport,
    pod::{CURL, Pod},
};

pub(super) fn row_1_several_ports(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    run.apply(&[
        run.service(json!({ "ports": [port("a", 80), port("b", 81)] })),
        slice(&run.name, "a", run.family, &[port("a", TELLER)], &[ready(run.ip(one))]),
        slice(&run.name, "b", run.family, &[port("b", TELLER)], &[ready(run.ip(two))]),
    ]);
    run.client().assert_reaches((run.vip(1), 80), &[one], "port 80");
    run.client().assert_reaches((run.vip(1), 81), &[two], "port 81");
}

pub(super) fn row_2_slices_differ(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let mut declared = port("tcp", 80);
    declared["targetPort"] = 1.into();
    run.apply(&[
        run.service(json!({ "ports": [declared] })),
        slice(&run.name, "a", run.family, &[port("tcp", TELLER), port("other", 1)], &[ready(run.ip(one))]),
        slice(&run.name, "b", run.family, &[port("other", 1), port("tcp", TELLER_TOO)], &[ready(run.ip(two))]),
    ]);
    let seen: BTreeSet<_> =
        (0..40).map(|_| run.client().told(run.address())).map(|told| (told.who, told.local.port())).collect();
    let expected = [("one".to_owned(), TELLER), ("two".to_owned(), TELLER_TOO)];
    assert_eq!(seen, expected.into(), "each slice has its own port");
}

pub(super) fn row_3_crooked_slice_ports(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let crooked = [
        json!({ "name": "tcp", "port": null, "protocol": "TCP" }),
        json!({ "name": "tcp", "port": 0, "protocol": "TCP" }),
        json!({ "name": null, "port": TELLER, "protocol": "TCP" }),
        json!({ "port": TELLER }),
    ];
    run.apply(&[
        run.service(json!({})),
        slice(&run.name, "crooked", run.family, &crooked, &[ready(run.ip(two))]),
        run.slice_of("straight", &[one]),
    ]);
    run.client().assert_reaches(run.address(), &[one], "the only port that counts");
}

pub(super) fn row_4_datagrams(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    run.cluster.lead(Transport::Udp, run.address(), (run.ip(two), DATAGRAMS).into());
    assert_eq!(run.client().who_by_udp(run.address()), "two");
    run.client().assert_reaches(run.address(), &[one], "TCP, at the same address");
}

pub(super) fn row_5_one_number_twice(run: &Run<'_>) {
    let [one, two, three] = run.backends();
    let udp = |number: u16| json!({ "name": "udp", "port": number, "protocol": "UDP" });
    run.apply(&[
        run.service(json!({ "ports": [port("tcp", 53), udp(53)] })),
        run.slice_of("a", &[one]),
        slice(&run.name, "b", run.family, &[udp(DATAGRAMS)], &[ready(run.ip(two))]),
    ]);
    let address = (run.vip(1), 53).into();
    run.cluster.lead(Transport::Udp, address, (run.ip(two), DATAGRAMS).into());
    run.lead(address, three);
    run.client().assert_reaches(address, &[one], "TCP");
    assert_eq!(run.client().who_by_udp(address), "two");
}

pub(super) fn row_6_protocols(run: &Run<'_>) {
    let pods = run.backends();
    let declared = |name: &str, number: u16, protocol: Value| {
        let mut port = port(name, number);
        port["appProtocol"] = protocol;
        port
    };
    let ports = [
        declared("h2c", 80, "kubernetes.io/h2c".into()),
        declared("ws", 81, "kubernetes.io/ws".into()),
        declared("any", 82, Value::Null),
        declared("tcp-web", 83, Value::Null),
    ];
    let behind = [port("h2c", WEB_H2), port("ws", UPGRADES), port("any", WEB), port("tcp-web", WEB)];
    let endpoints = pods.map(|pod| ready(run.ip(pod)));
    run.apply(&[run.service(json!({ "ports": ports })), slice(&run.name, "a", run.family, &behind, &endpoints)]);
    // Twenty requests on one connection of some client's: how many pods answer?
    let spread = |program: &str, options: &[&str], port: u16| {
        let address = SocketAddr::new(run.vip(1), port);
        let urls: Vec<_> = (0..20).map(|at| format!("http://{address}/{at}")).collect();
        let said = run.client().run(program, &[options, &urls.iter().map(String::as_str).collect::<Vec<_>>()].concat());
        let who: Vec<_> = said.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(who.len(), 20, "{program}: {said}");
        who.into_iter().collect::<BTreeSet<_>>().len()
    };
    // Not curl: 7.88 cannot use a connection with prior knowledge twice, with or without a mesh.
    assert!(spread("nghttp", &[], 80) > 1, "requests of one h2c connection are not spread");
    assert!(spread("curl", CURL, 82) > 1, "HTTP is not detected: requests of one connection are not spread");
    assert_eq!(spread("curl", CURL, 83), 1, "a port that is said to be TCP is balanced by the request");
    web_socket(run.client(), (run.vip(1), 81).into());
}

fn web_socket(client: &Pod, address: SocketAddr) {
    let stream = client.netns.enter(|| TcpStream::connect(address)).unwrap();
    let mut connection = Connection::from_stream(stream).unwrap();
    let fields =
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AA==\r\n";
    connection.send(format!("GET / HTTP/1.1\r\nHost: chat\r\n{fields}\r\n")).unwrap();
    assert_eq!(connection.head().unwrap().status, 101, "no upgrade");
    connection.send("hello\n").unwrap();
    assert_eq!(connection.line().unwrap(), "hello");
}

pub(super) fn row_7_unknown_port(run: &Run<'_>) {
    let [one, plain, three] = run.backends();
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    let unknown = (run.vip(1), 9999);
    run.lead(unknown, three);
    for pod in [run.client(), plain] {
        let told = pod.told(unknown);
        assert_eq!((&*told.who, told.peer), ("three", run.ip(pod)), "dialled by {}", pod.name);
    }
    run.client().assert_reaches(run.address(), &[one], "the port that it has");
    run.assert_passes(0, 1.0, || drop(run.client().told(unknown)));
    // Where nobody answers, nobody is waited for.
    let nowhere = (run.vip(1), 9998);
    let errors = [run.client(), plain].map(|pod| pod.dial(nowhere).map(|(told, _)| told).unwrap_err());
    let waits = |error: &io::Error| matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
    assert!(!errors.iter().any(waits), "{errors:?}");
}

pub(super) fn row_9_no_ports(run: &Run<'_>) {
    let [one, ..] = run.backends();
    let headless = service(&run.name, json!({ "clusterIP": "None", "clusterIPs": ["None"] }));
    let external = service("row-09-out", json!({ "type": "ExternalName", "externalName": OUTSIDE }));
    run.apply(&[headless, external, slice(&run.name, "a", run.family, &[], &[ready(run.ip(one))])]);
    // Whether they are taken shows by their names: nobody else knows these.
    assert_eq!(run.dig(&run.full_name()), found([run.ip(one)]));
    let (code, data) = run.dig("row-09-out.shop.svc.cluster.local");
    assert!(code == "NOERROR" && data.contains(&format!("{OUTSIDE}.")), "{code} {data:?}");
}

//! Proxies that speak nonsense to a real control plane: they are sent away with a reason, and nobody else notices.

use std::io::Write;

use tonic::Code;
use wasmesh_proto::wire::{self, from_proxy::Message as FromProxy};
use wasmesh_tests::{Backend, Connection, FakeProxy, Mesh, Service, hello, until};

/// Does this to a control plane that has a good proxy too, and expects to be sent away for this reason.
#[track_caller]
fn check(code: Code, why: &str, misbehave: impl FnOnce(&mut FakeProxy)) {
    let [a, b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoint(&a)]);
    let mut proxy = FakeProxy::connect(mesh.control_plane.discovery());
    misbehave(&mut proxy);
    let status = proxy.end();
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(why), "{status:?}");
    until("it is gone from the list", || mesh.control_plane.stream("bad").is_none());
    mesh.apply([Service::new("web").endpoint(&b)]);
    assert_eq!(mesh.get("http://web/").backend(), b.address());
}

/// The same after a proper beginning.
#[track_caller]
fn check_later(code: Code, why: &str, message: impl FnOnce(&wire::Update) -> FromProxy) {
    check(code, why, |proxy| {
        proxy.send(FromProxy::Hello(hello("bad", &[])));
        proxy.expect_welcome();
        let update = proxy.expect_update();
        let message = message(&update);
        proxy.send(message);
    });
}

fn ack(nonce: u64) -> FromProxy {
    FromProxy::Ack(wire::Ack { nonce, ..Default::default() })
}

#[test]
fn no_hello() {
    check(Code::InvalidArgument, "must be a Hello", |proxy| proxy.send(ack(1)));
}

#[test]
fn not_a_word() {
    check(Code::DeadlineExceeded, "no Hello came within 10 s", |_| {});
}

#[test]
fn a_message_without_content() {
    check(Code::InvalidArgument, "must be a Hello", |proxy| proxy.send_raw(wire::FromProxy { message: None }));
}

#[test]
fn another_revision_of_the_protocol() {
    check(Code::FailedPrecondition, "revision 7", |proxy| {
        proxy.send(FromProxy::Hello(wire::Hello { protocol: 7, ..hello("bad", &[]) }));
    });
}

#[test]
fn names_that_are_none_in_hello() {
    check(Code::InvalidArgument, "no-slash", |proxy| proxy.send(FromProxy::Hello(hello("bad", &["no-slash"]))));
}

#[test]
fn checksums_of_another_size() {
    check(Code::InvalidArgument, "256 buckets", |proxy| {
        let held = Some(wire::Checksums { buckets: vec![1; 3] });
        proxy.send(FromProxy::Hello(wire::Hello { held, ..hello("bad", &[]) }));
    });
}

#[test]
fn a_second_hello() {
    check_later(Code::InvalidArgument, "a second Hello", |_| FromProxy::Hello(hello("bad", &[])));
}

#[test]
fn names_that_are_none_in_a_subscription() {
    check_later(Code::InvalidArgument, "a/b/c", |_| {
        FromProxy::Subscribe(wire::Subscribe { add: vec!["a/b/c".to_owned()], remove: vec![] })
    });
}

#[test]
fn an_acknowledgement_of_something_else() {
    check_later(Code::InvalidArgument, "not under way", |update| ack(update.nonce + 1));
}

#[test]
fn an_inventory_that_nobody_asked_for() {
    check_later(Code::InvalidArgument, "not asked for", |_| FromProxy::Inventory(wire::Inventory::default()));
}

#[test]
fn an_address_that_is_none() {
    check_later(Code::InvalidArgument, "4 or 16", |_| {
        let address = wire::SocketAddress { ip: vec![1, 2, 3], port: 80 };
        FromProxy::OwnersRequest(wire::OwnersRequest { addresses: vec![address] })
    });
}

#[test]
fn a_verdict_on_a_name_that_is_none() {
    check_later(Code::InvalidArgument, "not a Service name", |update| {
        let verdict = wire::Verdict { name: String::new(), ..Default::default() };
        FromProxy::Ack(wire::Ack { nonce: update.nonce, rejected: vec![verdict], checksum: 0 })
    });
}

#[test]
fn more_subscriptions_than_a_proxy_may_have() {
    check(Code::ResourceExhausted, "subscriptions", |proxy| {
        proxy.send(FromProxy::Hello(hello("bad", &[])));
        proxy.expect_welcome();
        for batch in 0..3 {
            let add = (0..40_000).map(|number| format!("n/{batch}-{number}")).collect();
            proxy.send(FromProxy::Subscribe(wire::Subscribe { add, remove: vec![] }));
        }
    });
}

#[test]
fn a_message_larger_than_any_proxy_needs() {
    check(Code::OutOfRange, "4194304", |proxy| {
        proxy.send(FromProxy::Hello(hello(&"x".repeat(5 * 1024 * 1024), &[])));
    });
}

#[test]
fn a_proxy_that_never_acknowledges_is_owed_one_update_and_no_queue() {
    let backend = Backend::start();
    let web = |number: u16| Service::new("web").port("more", 1000 + number).endpoint(&backend);
    let mesh = Mesh::of([web(0)]);
    let mut silent = FakeProxy::open(mesh.control_plane.discovery(), hello("silent", &[]));
    silent.expect_welcome();
    let first = silent.expect_update();
    for number in 1..=20 {
        mesh.apply([web(number)]);
    }
    assert!(silent.is_quiet(), "a second update came before the first was acknowledged");
    assert_eq!(mesh.control_plane.stream("silent").unwrap()["current"], false);
    silent.ack(&first);
    let second = silent.expect_update();
    assert_eq!((second.items.len(), second.nonce), (1, first.nonce + 1), "all changes are one difference");
    silent.ack(&second);
    mesh.control_plane.wait_current("silent");
}

#[test]
fn a_proxy_that_never_reads_slows_down_nobody_else() {
    let [a, b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoint(&a)]);
    let deaf: Vec<_> = (0..10).map(|_| FakeProxy::open(mesh.control_plane.discovery(), hello("deaf", &[]))).collect();
    until("they are all there", || {
        let streams = mesh.control_plane.admin().json("/debug/streams");
        streams["streams"].as_array().is_some_and(|streams| streams.len() == 11)
    });
    for (round, proxy) in deaf.iter().cycle().take(2_000).enumerate() {
        let name = format!("n/absent-{round}");
        proxy.try_send(FromProxy::Subscribe(wire::Subscribe { add: vec![name], remove: vec![] }));
    }
    for backend in [&b, &a, &b] {
        mesh.apply([Service::new("web").endpoint(backend)]);
        assert_eq!(mesh.get("http://web/").backend(), backend.address());
    }
    drop(deaf);
    until("they are all gone", || mesh.control_plane.stream("deaf").is_none());
}

#[test]
fn garbage_at_the_port_for_proxies() {
    let [a, b] = Backend::several();
    let mesh = Mesh::of([Service::new("web").endpoint(&a)]);
    for garbage in
        ["GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_bytes(), &[0xff; 100_000], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense"]
    {
        let mut connection = Connection::open(mesh.control_plane.discovery()).unwrap();
        // It may be closed before all is written.
        let _ = connection.writer().unwrap().write_all(garbage);
        let _ = connection.finish();
        let _ = connection.read_to_end();
    }
    mesh.apply([Service::new("web").endpoint(&b)]);
    assert_eq!(mesh.get("http://web/").backend(), b.address());
}

#[test]
fn a_rejection_is_shown_where_operators_look() {
    let mesh = Mesh::of([Service::new("web")]);
    let rejected_before = mesh.control_plane.admin().metric("wasmesh_control_plane_rejected_resources_total", &[]);
    let mut proxy = FakeProxy::open(mesh.control_plane.discovery(), hello("picky", &[]));
    proxy.expect_welcome();
    let update = proxy.expect_update();
    let verdict = wire::Verdict {
        name: "default/web".to_owned(),
        entry_version: update.items[0].entry_version,
        reason: "not to my taste".to_owned(),
        ..Default::default()
    };
    let nothing = wasmesh_core::checksum::Checksums::default().total();
    proxy.send(FromProxy::Ack(wire::Ack { nonce: update.nonce, rejected: vec![verdict], checksum: nothing }));
    until("it is shown", || {
        let stream = mesh.control_plane.stream("picky").unwrap_or_default();
        stream["rejected"][0]["service"] == "default/web" && stream["rejected"][0]["reason"] == "not to my taste"
    });
    let counted = mesh.control_plane.admin().metric("wasmesh_control_plane_rejected_resources_total", &[]);
    assert!(counted > rejected_before);
    // Rejecting is an acknowledgement too.
    assert_eq!(mesh.control_plane.stream("picky").unwrap()["current"], true);
}

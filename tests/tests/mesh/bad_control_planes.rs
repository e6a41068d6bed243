//! Control planes that speak nonsense: what was known stays, the reason is shown, traffic goes on.

use std::net::SocketAddr;

use prost::Message;
use tonic::Status;
use wasmesh_proto::{
    PROTOCOL,
    wire::{self, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};
use wasmesh_tests::{
    Backend, FakeControlPlane, FakeStream, Proxy, Scripted, Switch, core_service, dead_address, fresh_vip, item, until,
};

/// A proxy that uses `web`, told by a fake control plane.
struct InUse {
    control_plane: FakeControlPlane,
    stream: FakeStream,
    proxy: Proxy,
    backend: Backend,
}

fn vip() -> SocketAddr {
    (fresh_vip(), 80).into()
}

fn in_use() -> InUse {
    let backend = Backend::start();
    let control_plane = FakeControlPlane::start();
    let proxy = Proxy::start(&control_plane.url(), &[]);
    let mut stream = control_plane.accept();
    stream.welcome();
    let web = core_service("default/web", vip(), &[backend.address()]);
    stream.update(vec![item(&web, false)], &[]);
    let mut client = proxy.connect();
    client.send("GET http://web/ HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.expect_subscribe().add, ["default/web"]);
    stream.update(vec![item(&web, true)], &[]);
    assert_eq!(client.response("GET").unwrap().backend(), backend.address());
    InUse { control_plane, stream, proxy, backend }
}

impl InUse {
    #[track_caller]
    fn serves(&self) {
        assert_eq!(self.proxy.get("http://web/").backend(), self.backend.address());
    }

    /// Says something that no control plane says; the proxy gives the stream up, keeps what it has and comes back.
    #[track_caller]
    fn check(mut self, why: &str, misbehave: impl FnOnce(&mut FakeStream)) {
        let losses = self.proxy.admin().metric("wasmesh_control_plane_losses_total", &[]);
        misbehave(&mut self.stream);
        self.proxy.wait(&format!("{why:?} is shown"), |snapshot| {
            snapshot["last_error"].as_str().is_some_and(|error| error.contains(why))
        });
        assert!(self.proxy.admin().metric("wasmesh_control_plane_losses_total", &[]) > losses);
        self.serves();
        let again = self.control_plane.accept();
        assert_eq!(again.hello.subscriptions, ["default/web"]);
        assert!(again.hello.held.is_some(), "the proxy has forgotten what it knew");
        again.welcome();
        self.proxy.wait("it is connected again", |snapshot| snapshot["connected_to"] == "fake");
        assert!(self.proxy.snapshot()["last_error"].is_null());
        self.serves();
    }
}

fn part(nonce: u64, more: bool) -> ToProxy {
    ToProxy::Update(wire::Update { nonce, more, ..Default::default() })
}

#[test]
fn a_second_welcome() {
    in_use().check("a second Welcome", |stream| stream.welcome());
}

#[test]
fn an_update_inside_another_one() {
    in_use().check("a part of another update", |stream| {
        stream.send(part(70, true));
        stream.send(part(71, false));
    });
}

#[test]
fn a_request_for_a_bucket_that_does_not_exist() {
    in_use().check("a bucket that does not exist", |stream| {
        stream.send(ToProxy::InventoryRequest(wire::InventoryRequest { buckets: vec![256] }));
    });
}

#[test]
fn a_stream_that_ends_with_an_error() {
    let InUse { control_plane, stream, proxy, backend } = in_use();
    stream.end(Status::internal("out of ideas"));
    proxy.wait("the reason is shown", |snapshot| {
        snapshot["last_error"].as_str().is_some_and(|error| error.contains("out of ideas"))
    });
    assert_eq!(proxy.get("http://web/").backend(), backend.address());
    control_plane.accept();
}

#[test]
fn an_unknown_revision_of_the_protocol() {
    let InUse { control_plane, stream, proxy, backend } = in_use();
    stream.end(Status::unavailable("restart"));
    let newer = control_plane.accept();
    assert_eq!(newer.hello.protocol, PROTOCOL);
    newer.send(ToProxy::Welcome(wire::Welcome { protocol: 9, control_plane: "newer".to_owned(), node: None }));
    proxy.wait("both revisions are shown", |snapshot| {
        let error = snapshot["last_error"].as_str().unwrap_or_default();
        error.contains("revision 9") && error.contains(&format!("speaks {PROTOCOL}"))
    });
    assert_eq!(proxy.get("http://web/").backend(), backend.address());
}

#[test]
fn an_update_before_the_welcome() {
    let InUse { control_plane, stream, proxy, backend } = in_use();
    stream.end(Status::unavailable("restart"));
    control_plane.accept().send(part(1, false));
    proxy.wait("the reason is shown", |snapshot| {
        snapshot["last_error"].as_str().is_some_and(|error| error.contains("must be a Welcome"))
    });
    assert_eq!(proxy.get("http://web/").backend(), backend.address());
}

#[test]
fn garbage_in_place_of_grpc() {
    let backend = Backend::start();
    let folder = wasmesh_tests::Folder::default();
    folder.put(&[wasmesh_tests::Service::new("web").endpoint(&backend)]);
    let control_plane = wasmesh_tests::ControlPlane::start(folder.path());
    let switch = Switch::to(control_plane.discovery());
    let proxy = Proxy::start(&switch.url(), &[]);
    assert_eq!(proxy.get("http://localhost:1/").status, 502);
    control_plane.wait_current(proxy.full_name());
    assert_eq!(proxy.get("http://web/").status, 200);

    let garbage = Scripted::start(|mut connection| while connection.send([0x5a; 4096]).is_ok() {});
    let web_server = Scripted::start(|mut connection| {
        let _ = connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    for nonsense in [&garbage, &web_server] {
        switch.turn(Some(nonsense.address()));
        proxy.wait("the stream is lost", |snapshot| {
            snapshot["connected_to"].is_null() && snapshot["last_error"].is_string()
        });
        until("the proxy has tried it", || nonsense.connections() > 0);
        assert_eq!(proxy.get("http://web/").backend(), backend.address());
    }
    switch.turn(Some(control_plane.discovery()));
    proxy.wait("it is connected again", |snapshot| snapshot["connected_to"].is_string());
}

/// Sends a bad item between two good ones; it is rejected alone, by name and for this reason, and shown.
#[track_caller]
fn check_item(name: &str, why: &str, spoil: impl FnOnce(&mut wire::Item)) {
    let mut mesh = in_use();
    let rejected_before = mesh.proxy.admin().metric("wasmesh_rejected_resources_total", &[]);
    let good = ["default/before", "default/later"].map(|name| item(&core_service(name, vip(), &[]), false));
    let mut bad = item(&core_service(name, vip(), &[dead_address()]), false);
    spoil(&mut bad);
    let [before, later] = good;
    let ack = mesh.stream.update(vec![before, bad.clone(), later], &[]);

    let [verdict] = &ack.rejected[..] else { panic!("one verdict expected: {ack:?}") };
    assert_eq!((verdict.name.as_str(), verdict.entry_version), (name, bad.entry_version));
    assert!(verdict.reason.contains(why), "{}", verdict.reason);
    assert!(mesh.proxy.service("default/before").is_some() && mesh.proxy.service("default/later").is_some());
    assert!(mesh.proxy.service(name).is_none());
    mesh.proxy.wait("it is shown", |snapshot| {
        let row = &snapshot["rejected"][0];
        row["service"] == name && row["reason"].as_str().is_some_and(|reason| reason.contains(why))
    });
    assert!(mesh.proxy.admin().metric("wasmesh_rejected_resources_total", &[]) > rejected_before);
    mesh.serves();

    // It is told on the next stream, so that it is not sent again, and forgotten when a good one comes.
    let InUse { control_plane, stream, proxy, .. } = mesh;
    stream.end(Status::unavailable("restart"));
    let mut stream = control_plane.accept();
    assert_eq!(stream.hello.rejected.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), [name]);
    stream.welcome();
    assert!(stream.update(vec![item(&core_service(name, vip(), &[]), false)], &[]).rejected.is_empty());
    proxy.wait("it is no longer shown", |snapshot| snapshot["rejected"].as_array().is_some_and(Vec::is_empty));
    assert!(proxy.service(name).is_some());
}

/// Changes what is encoded in an item.
fn edit(item: &mut wire::Item, change: impl FnOnce(&mut wire::ItemBody)) {
    let mut body = wire::ItemBody::decode(item.body.clone()).unwrap();
    change(&mut body);
    item.body = body.encode_to_vec().into();
}

#[test]
fn an_item_that_cannot_be_decoded_is_rejected_alone() {
    check_item("default/bad", "undecodable", |bad| bad.body = vec![0xff; 40].into());
}

#[test]
fn an_item_with_an_address_of_five_bytes_is_rejected_alone() {
    check_item("default/bad", "5 bytes long", |bad| {
        edit(bad, |body| body.entry.as_mut().unwrap().vips = vec![vec![1, 2, 3, 4, 5]]);
    });
}

#[test]
fn an_item_with_an_impossible_port_is_rejected_alone() {
    check_item("default/bad", "65536", |bad| edit(bad, |body| body.entry.as_mut().unwrap().ports[0].port = 65_536));
}

#[test]
fn an_endpoint_with_an_address_of_five_bytes_leaves_the_endpoints_as_they_were() {
    let mut mesh = in_use();
    let web = core_service("default/web", vip(), &[dead_address()]);
    let mut bad = item(&web, true);
    edit(&mut bad, |body| body.endpoints.as_mut().unwrap().upserts[0].ip = vec![1, 2, 3, 4, 5]);
    let ack = mesh.stream.update(vec![bad], &[]);
    assert_eq!(ack.rejected.len(), 1);
    assert!(ack.rejected[0].reason.contains("5 bytes long"), "{ack:?}");
    assert!(ack.rejected[0].held.is_some(), "it still holds the last good version");
    mesh.serves();
}

#[test]
fn an_address_that_another_service_has_is_rejected_by_name_of_both() {
    let mut mesh = in_use();
    let taken = vip();
    mesh.stream.update(vec![item(&core_service("default/owner", taken, &[]), false)], &[]);
    let ack = mesh.stream.update(vec![item(&core_service("default/thief", taken, &[]), false)], &[]);
    let reason = &ack.rejected[0].reason;
    assert_eq!(ack.rejected[0].name, "default/thief");
    assert!(reason.contains(&taken.ip().to_string()) && reason.contains("default/owner"), "{reason}");
    mesh.serves();
}

#[test]
fn a_delta_for_endpoints_that_are_not_held_is_asked_for_whole() {
    let mut mesh = in_use();
    let web = core_service("default/web", vip(), &[mesh.backend.address()]);
    // To a list that it does not hold either.
    let more = core_service("default/web", vip(), &[mesh.backend.address(), dead_address()]);
    let mut delta = item(&more, true);
    edit(&mut delta, |body| body.endpoints.as_mut().unwrap().base = Some(12_345));
    let ack = mesh.stream.update(vec![delta], &[]);
    assert!(ack.rejected[0].resend, "{ack:?}");
    mesh.serves();
    assert!(mesh.stream.update(vec![item(&web, true)], &[]).rejected.is_empty());
    mesh.serves();
}

#[test]
fn a_proxy_that_disagrees_says_what_it_holds() {
    let mut mesh = in_use();
    let mut wrong = mesh.stream.draft(vec![item(&core_service("default/one", vip(), &[]), false)], &[]);
    let right = wrong.checksum;
    wrong.checksum ^= 1;
    mesh.stream.send(ToProxy::Update(wrong));
    assert_eq!(mesh.stream.expect_ack().checksum, right, "the acknowledgement says what is really held");

    mesh.stream.send(ToProxy::ChecksumsRequest(wire::ChecksumsRequest {}));
    let FromProxy::Checksums(sums) = mesh.stream.receive() else { panic!("Checksums expected") };
    assert_eq!(sums.buckets.len(), 256);
    let filled: Vec<u32> = (0..256).filter(|bucket| sums.buckets[*bucket as usize] != 0).collect();
    mesh.stream.send(ToProxy::InventoryRequest(wire::InventoryRequest { buckets: filled.clone() }));
    let FromProxy::Inventory(inventory) = mesh.stream.receive() else { panic!("an Inventory expected") };
    let mut names: Vec<_> = inventory.held.iter().map(|held| held.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!((inventory.buckets, names), (filled, vec!["default/one", "default/web"]));
}

#[test]
fn an_update_takes_effect_with_its_last_part_and_not_before() {
    let mut mesh = in_use();
    let items = ["default/one", "default/two"].map(|name| item(&core_service(name, vip(), &[]), false));
    let whole = mesh.stream.draft(items.to_vec(), &[]);
    let [one, two] = items;
    mesh.stream.send(ToProxy::Update(wire::Update { items: vec![one], more: true, checksum: 0, ..whole.clone() }));
    // An answer to something later shows that the part has been read.
    mesh.stream.send(ToProxy::ChecksumsRequest(wire::ChecksumsRequest {}));
    assert!(matches!(mesh.stream.receive(), FromProxy::Checksums(_)), "a part was acknowledged");
    assert!(mesh.proxy.service("default/one").is_none());
    mesh.stream.send(ToProxy::Update(wire::Update { items: vec![two], ..whole }));
    assert!(mesh.stream.expect_ack().rejected.is_empty());
    assert!(mesh.proxy.service("default/one").is_some() && mesh.proxy.service("default/two").is_some());
}

#[test]
fn a_protocol_and_a_policy_of_the_future_are_served_by_the_defaults() {
    let mut mesh = in_use();
    let mut newer = item(&core_service("default/newer", vip(), &[]), false);
    edit(&mut newer, |body| {
        let port = &mut body.entry.as_mut().unwrap().ports[0];
        port.protocol = 99;
        port.policy = Some(wire::PolicyRef { builtin: "psychic".to_owned(), wasm: None });
    });
    assert!(mesh.stream.update(vec![newer], &[]).rejected.is_empty());
    let shown = mesh.proxy.service("default/newer").unwrap();
    assert_eq!(
        (&shown["ports"][0]["protocol"], &shown["ports"][0]["policy"]),
        (&"Tcp".into(), &"least-request".into())
    );
}

//! The guarantees of the protocol, over the real server and by their numbers in the .proto; 7 is in `resume`.

use std::net::SocketAddr;

use prost::Message;
use wasmesh_proto::wire::{self, from_proxy::Message as FromProxy};
use wasmesh_tests::{ControlPlane, FakeProxy, Folder, Service, dead_address, fresh_vip, hello};

/// A control plane of these Services.
fn control_plane<const N: usize>(services: [Service; N]) -> (Folder, ControlPlane) {
    let folder = Folder::default();
    folder.put(&services);
    let control_plane = ControlPlane::start(folder.path());
    (folder, control_plane)
}

/// A proxy that has had its first update, not yet acknowledged.
fn open(control_plane: &ControlPlane, subscriptions: &[&str]) -> (FakeProxy, wire::Update) {
    let mut proxy = FakeProxy::open(control_plane.discovery(), hello("fake", subscriptions));
    proxy.expect_welcome();
    let update = proxy.expect_update();
    (proxy, update)
}

fn change<const N: usize>(folder: &Folder, control_plane: &ControlPlane, services: [Service; N]) {
    let before = control_plane.sequence();
    folder.put(&services);
    control_plane.wait_published_after(before);
}

fn names(update: &wire::Update) -> Vec<&str> {
    let mut names: Vec<_> = update.items.iter().map(|item| item.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn body(item: &wire::Item) -> wire::ItemBody {
    wire::ItemBody::decode(item.body.clone()).unwrap()
}

fn subscribe(proxy: &FakeProxy, add: &[&str], remove: &[&str]) {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    proxy.send(FromProxy::Subscribe(wire::Subscribe { add: list(add), remove: list(remove) }));
}

#[test]
fn guarantee_1_the_directory_always_and_endpoints_on_first_use() {
    let (_folder, control_plane) =
        control_plane([Service::new("web").endpoint(dead_address()), Service::new("other").endpoint(dead_address())]);
    let (mut proxy, directory) = open(&control_plane, &[]);
    assert_eq!(names(&directory), ["default/other", "default/web"]);
    for item in &directory.items {
        let body = body(item);
        assert!(body.endpoints.is_none() && item.endpoints_version.is_none(), "{item:?}");
        assert!(body.entry.unwrap().ports[0].reachable_v4);
    }
    proxy.ack(&directory);

    subscribe(&proxy, &["default/web"], &[]);
    let endpoints = proxy.expect_update();
    assert_eq!(names(&endpoints), ["default/web"]);
    let body = body(&endpoints.items[0]);
    assert!(body.entry.is_none(), "the declaration has not changed");
    assert_eq!(body.endpoints.unwrap().upserts.len(), 1);
}

#[test]
fn guarantee_1_endpoints_are_not_sent_after_they_were_given_up() {
    let web = || Service::new("web").endpoint(dead_address()).endpoint(dead_address());
    let (folder, control_plane) = control_plane([web()]);
    let (mut proxy, first) = open(&control_plane, &["default/web"]);
    assert!(first.items[0].endpoints_version.is_some());
    proxy.ack(&first);
    subscribe(&proxy, &[], &["default/web"]);
    change(&folder, &control_plane, [web().endpoint(dead_address()), Service::new("new")]);
    let next = proxy.expect_update();
    // Reachability is the same, so of `web` there is nothing to say.
    assert_eq!(names(&next), ["default/new"]);
}

#[test]
fn guarantee_2_versions_are_the_same_on_every_replica_and_follow_the_content() {
    let (folder, one) = control_plane([Service::new("web").endpoint(SocketAddr::from(([127, 0, 0, 1], 1)))]);
    let other = ControlPlane::named("other", folder.path());
    let versions = |control_plane: &ControlPlane| {
        let (_proxy, update) = open(control_plane, &["default/web"]);
        (update.items[0].entry_version, update.items[0].endpoints_version, update.checksum)
    };
    let before = versions(&one);
    assert_eq!(before, versions(&other));
    change(&folder, &one, [Service::new("web").endpoint(SocketAddr::from(([127, 0, 0, 1], 2)))]);
    let changed = versions(&one);
    assert_eq!(changed.0, before.0, "the entry has not changed");
    assert_ne!(changed.1, before.1);
    change(&folder, &one, [Service::new("web").endpoint(SocketAddr::from(([127, 0, 0, 1], 1)))]);
    assert_eq!(versions(&one), before);
}

#[test]
fn guarantee_3_one_update_is_in_flight_and_one_difference_is_owed() {
    let (folder, control_plane) = control_plane([Service::new("a")]);
    let (mut proxy, first) = open(&control_plane, &[]);
    change(&folder, &control_plane, [Service::new("a"), Service::new("b")]);
    change(&folder, &control_plane, [Service::new("a"), Service::new("c")]);
    change(&folder, &control_plane, [Service::new("a"), Service::new("c"), Service::new("d")]);
    assert!(proxy.is_quiet(), "an update came before the last was acknowledged");
    proxy.ack(&first);
    let difference = proxy.expect_update();
    assert_eq!((names(&difference), difference.removed.len()), (vec!["default/c", "default/d"], 0));
    assert_ne!(difference.nonce, first.nonce);
    proxy.ack(&difference);
    control_plane.wait_current("fake");
    assert!(proxy.is_quiet());
}

#[test]
fn guarantee_3_endpoints_travel_as_a_difference_too() {
    let (a, b, c) = (dead_address(), dead_address(), dead_address());
    let (folder, control_plane) = control_plane([Service::new("web").endpoints([a, b])]);
    let (mut proxy, first) = open(&control_plane, &["default/web"]);
    proxy.ack(&first);
    change(&folder, &control_plane, [Service::new("web").endpoints([a, c])]);
    let next = proxy.expect_update();
    let delta = body(&next.items[0]).endpoints.unwrap();
    assert_eq!(delta.base, first.items[0].endpoints_version);
    assert_eq!((delta.upserts.len(), delta.removed.len()), (1, 1), "{delta:?}");
}

#[test]
fn guarantee_4_an_address_changes_hands_in_one_update() {
    let (x, y) = (fresh_vip(), fresh_vip());
    let (folder, control_plane) = control_plane([Service::new("old").vip(x), Service::new("other").vip(y)]);
    let (mut proxy, first) = open(&control_plane, &[]);
    proxy.ack(&first);
    change(&folder, &control_plane, [Service::new("new").vip(x), Service::new("other").vip(y)]);
    let handed_over = proxy.expect_update();
    assert_eq!((names(&handed_over), &handed_over.removed[..]), (vec!["default/new"], &["default/old".to_owned()][..]));
    proxy.ack(&handed_over);
    change(&folder, &control_plane, [Service::new("new").vip(y), Service::new("other").vip(x)]);
    assert_eq!(names(&proxy.expect_update()), ["default/new", "default/other"]);
}

/// Rejects the only item of an update as a proxy that holds `held` would.
fn reject(proxy: &FakeProxy, update: &wire::Update, resend: bool, held: Option<wire::Held>, checksum: u64) {
    let item = &update.items[0];
    let verdict = wire::Verdict {
        name: item.name.clone(),
        entry_version: item.entry_version,
        endpoints_version: item.endpoints_version,
        reason: "for the test".to_owned(),
        resend,
        held,
    };
    proxy.send(FromProxy::Ack(wire::Ack { nonce: update.nonce, rejected: vec![verdict], checksum }));
}

fn held(item: &wire::Item) -> Option<wire::Held> {
    let wire::Item { name, entry_version, endpoints_version, .. } = item.clone();
    Some(wire::Held { name, entry_version, endpoints_version })
}

#[test]
fn guarantee_5_a_rejected_version_is_not_sent_again_and_the_next_one_is() {
    let version = |number| Service::new("web").port("more", number);
    let (folder, control_plane) = control_plane([version(1)]);
    let (mut proxy, first) = open(&control_plane, &[]);
    proxy.ack(&first);
    change(&folder, &control_plane, [version(2)]);
    let bad = proxy.expect_update();
    reject(&proxy, &bad, false, held(&first.items[0]), first.checksum);
    control_plane.wait_current("fake");

    // Something else changes; the rejected version is still the latest, and still not sent.
    change(&folder, &control_plane, [version(2), Service::new("other")]);
    let other = proxy.expect_update();
    assert_eq!(names(&other), ["default/other"]);
    proxy.ack(&other);
    change(&folder, &control_plane, [version(3), Service::new("other")]);
    assert_eq!(names(&proxy.expect_update()), ["default/web"]);
}

#[test]
fn guarantee_5_a_version_that_was_rejected_on_another_stream_is_not_sent_either() {
    let (_folder, control_plane) = control_plane([Service::new("web"), Service::new("other")]);
    let (_proxy, whole) = open(&control_plane, &[]);
    let web = whole.items.iter().find(|item| item.name == "default/web").unwrap();
    let verdict = wire::Verdict {
        name: web.name.clone(),
        entry_version: web.entry_version,
        reason: "for the test".to_owned(),
        ..Default::default()
    };
    let told = wire::Hello { rejected: vec![verdict], ..hello("told", &[]) };
    let mut proxy = FakeProxy::open(control_plane.discovery(), told);
    proxy.expect_welcome();
    assert_eq!(names(&proxy.expect_update()), ["default/other"]);
}

#[test]
fn guarantee_5_a_delta_that_did_not_fit_is_sent_whole_and_not_for_ever() {
    let (a, b) = (dead_address(), dead_address());
    let (folder, control_plane) = control_plane([Service::new("web").endpoint(a)]);
    let (mut proxy, first) = open(&control_plane, &["default/web"]);
    proxy.ack(&first);
    change(&folder, &control_plane, [Service::new("web").endpoints([a, b])]);
    let delta = proxy.expect_update();
    assert!(body(&delta.items[0]).endpoints.unwrap().base.is_some());
    reject(&proxy, &delta, true, None, wasmesh_core::checksum::Checksums::default().total());
    let whole = proxy.expect_update();
    let again = body(&whole.items[0]);
    assert!(again.entry.is_some(), "the proxy said that it holds nothing");
    let endpoints = again.endpoints.unwrap();
    assert_eq!((endpoints.base, endpoints.upserts.len()), (None, 2));
    // If that never fits, it is a rejection like any other.
    let mut sent = whole;
    for _ in 0..10 {
        reject(&proxy, &sent, true, None, wasmesh_core::checksum::Checksums::default().total());
        if proxy.is_quiet() {
            control_plane.wait_current("fake");
            return;
        }
        sent = proxy.expect_update();
    }
    panic!("it is sent for ever");
}

#[test]
fn guarantee_6_removal_and_absence_are_said() {
    let (folder, control_plane) = control_plane([Service::new("web"), Service::new("other")]);
    let (mut proxy, first) = open(&control_plane, &["default/never", "default/web"]);
    assert_eq!(first.absent, ["default/never"]);
    proxy.ack(&first);
    change(&folder, &control_plane, [Service::new("other")]);
    let removal = proxy.expect_update();
    assert_eq!((&removal.removed[..], removal.items.len()), (&["default/web".to_owned()][..], 0));
    proxy.ack(&removal);
    subscribe(&proxy, &["shop/also-never"], &[]);
    let absence = proxy.expect_update();
    assert_eq!(absence.absent, ["shop/also-never"]);
    proxy.ack(&absence);
    // A subscription outlives the absence of its Service.
    change(&folder, &control_plane, [Service::new("other"), Service::new("never").endpoint(dead_address())]);
    let born = proxy.expect_update();
    assert_eq!(names(&born), ["default/never"]);
    assert_eq!(body(&born.items[0]).endpoints.unwrap().upserts.len(), 1);
}

#[test]
fn a_large_directory_comes_in_parts_that_are_one_update() {
    let folder = Folder::default();
    let services: Vec<_> =
        (0..3000).map(|number| Service::new(&format!("{}/{number}", "n".repeat(500))).vip(fresh_vip())).collect();
    folder.put(&services);
    let control_plane = ControlPlane::start(folder.path());
    let mut proxy = FakeProxy::open(control_plane.discovery(), hello("fake", &[]));
    proxy.expect_welcome();
    let mut parts = 0;
    loop {
        let Ok(wire::to_proxy::Message::Update(part)) = proxy.receive() else { panic!("an Update expected") };
        parts += 1;
        if !part.more {
            break;
        }
    }
    assert!(parts > 1, "3,000 services came in one message");
}

//! Guarantee 7 of the protocol: a proxy that comes back is sent what differs, and a disagreement is found and mended.

use std::net::SocketAddr;

use tonic::Code;
use wasmesh_proto::{
    session::client::ClientSession,
    wire::{self, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};
use wasmesh_tests::{ControlPlane, FakeProxy, Folder, Service, dead_address, fresh_vip, hello, until};

/// Opens a stream for a session and brings it up to date. Returns how many items that took.
fn catch_up(session: &mut ClientSession, control_plane: &ControlPlane, name: &str) -> usize {
    let mut proxy = FakeProxy::connect(control_plane.discovery());
    let items = proxy.catch_up(session, name);
    control_plane.wait_current(name);
    items
}

fn services(changed: Option<usize>) -> Vec<Service> {
    let services = (0..40).map(|number| {
        let port = if changed == Some(number) { 2000 } else { 1000 };
        Service::new(&format!("shop/service-{number}"))
            .port("more", port)
            .endpoint(SocketAddr::from(([127, 0, 0, 1], 9)))
    });
    services.collect()
}

#[test]
fn only_what_differs_is_sent_to_a_proxy_that_comes_back() {
    let folder = Folder::default();
    folder.put(&services(None));
    let one = ControlPlane::named("one", folder.path());
    let mut session = ClientSession::default();
    session.subscribe(&"shop/service-3".parse().unwrap());
    assert_eq!(catch_up(&mut session, &one, "p"), 40);
    assert_eq!(catch_up(&mut session, &one, "p"), 0, "nothing has changed");

    let other = ControlPlane::named("other", folder.path());
    assert_eq!(catch_up(&mut session, &other, "p"), 0, "the other replica has the same");

    let mut next = services(Some(7));
    next.remove(0);
    let before = other.sequence();
    folder.put(&next);
    other.wait_published_after(before);
    assert_eq!(catch_up(&mut session, &other, "p"), 2, "one has changed and one is gone");
    assert_eq!(session.table().len(), 39);
    assert!(session.table().get(&"shop/service-3".parse().unwrap()).unwrap().endpoints.is_some());
}

#[test]
fn subscriptions_made_without_a_stream_are_heeded_on_the_next_one() {
    let folder = Folder::default();
    folder.put(&services(None));
    let control_plane = ControlPlane::start(folder.path());
    let mut session = ClientSession::default();
    catch_up(&mut session, &control_plane, "p");
    assert!(session.subscribe(&"shop/service-5".parse().unwrap()).is_some(), "there was a stream");
    assert_eq!(catch_up(&mut session, &control_plane, "p"), 1);
    assert!(session.table().get(&"shop/service-5".parse().unwrap()).unwrap().endpoints.is_some());
}

/// A proxy that has acknowledged everything, but names a wrong sum.
fn disagreeing(control_plane: &ControlPlane) -> (FakeProxy, wire::Update) {
    let mut proxy = FakeProxy::open(control_plane.discovery(), hello("fake", &[]));
    proxy.expect_welcome();
    let update = proxy.expect_update();
    proxy.send(FromProxy::Ack(wire::Ack { nonce: update.nonce, rejected: vec![], checksum: update.checksum ^ 1 }));
    let asked = proxy.receive().unwrap();
    assert!(matches!(asked, ToProxy::ChecksumsRequest(_)), "{asked:?}");
    (proxy, update)
}

#[test]
fn a_sum_that_does_not_match_leads_to_a_comparison_and_to_what_is_missing() {
    let folder = Folder::default();
    folder.put(&[Service::new("one").vip(fresh_vip()), Service::new("two").endpoint(dead_address())]);
    let control_plane = ControlPlane::start(folder.path());
    let (mut proxy, whole) = disagreeing(&control_plane);
    // It holds nothing at all.
    proxy.send(FromProxy::Checksums(wire::Checksums { buckets: vec![0; 256] }));
    let ToProxy::InventoryRequest(request) = proxy.receive().unwrap() else { panic!("an InventoryRequest expected") };
    assert!(!request.buckets.is_empty());
    proxy.send(FromProxy::Inventory(wire::Inventory { buckets: request.buckets, held: vec![] }));
    let repair = proxy.expect_update();
    assert_eq!((repair.items.len(), repair.checksum), (2, whole.checksum));
    proxy.ack(&repair);
    control_plane.wait_current("fake");
}

#[test]
fn what_a_proxy_holds_and_should_not_is_removed() {
    let folder = Folder::default();
    folder.put(&[Service::new("one")]);
    let control_plane = ControlPlane::start(folder.path());
    let (mut proxy, whole) = disagreeing(&control_plane);
    proxy.send(FromProxy::Checksums(wire::Checksums { buckets: vec![1; 256] }));
    let ToProxy::InventoryRequest(request) = proxy.receive().unwrap() else { panic!("an InventoryRequest expected") };
    let one = &whole.items[0];
    let held =
        |name: &str, version| wire::Held { name: name.to_owned(), entry_version: version, endpoints_version: None };
    let held = vec![held(&one.name, one.entry_version), held("default/stray", 5)];
    proxy.send(FromProxy::Inventory(wire::Inventory { buckets: request.buckets, held }));
    let repair = proxy.expect_update();
    assert_eq!((&repair.removed[..], repair.items.len()), (&["default/stray".to_owned()][..], 0));
    assert_eq!(repair.checksum, whole.checksum);
}

#[test]
fn a_disagreement_that_a_comparison_does_not_mend_ends_the_stream() {
    let folder = Folder::default();
    folder.put(&[Service::new("one")]);
    let control_plane = ControlPlane::start(folder.path());
    let (mut proxy, _whole) = disagreeing(&control_plane);
    proxy.send(FromProxy::Checksums(wire::Checksums { buckets: vec![0; 256] }));
    let ToProxy::InventoryRequest(request) = proxy.receive().unwrap() else { panic!("an InventoryRequest expected") };
    proxy.send(FromProxy::Inventory(wire::Inventory { buckets: request.buckets, held: vec![] }));
    let repair = proxy.expect_update();
    let wrong = wire::Ack { nonce: repair.nonce, rejected: vec![], checksum: repair.checksum ^ 1 };
    proxy.send(FromProxy::Ack(wrong));
    let status = proxy.end();
    assert_eq!(status.code(), Code::DataLoss, "{status:?}");
    until("it is gone from the list", || control_plane.stream("fake").is_none());
}

#[test]
fn a_change_in_the_middle_of_a_comparison_does_not_end_the_stream() {
    let folder = Folder::default();
    folder.put(&[Service::new("one")]);
    let control_plane = ControlPlane::start(folder.path());
    let mut proxy = FakeProxy::open(control_plane.discovery(), hello("fake", &[]));
    proxy.expect_welcome();
    let first = proxy.expect_update();
    // The next update is owed at the very moment at which the disagreement shows.
    let before = control_plane.sequence();
    folder.put(&[Service::new("one"), Service::new("two")]);
    control_plane.wait_published_after(before);

    // What this proxy holds is right but for one stray Service, so a comparison mends it.
    let mut held: Vec<_> = first
        .items
        .iter()
        .map(|item| wire::Held { name: item.name.clone(), entry_version: item.entry_version, endpoints_version: None })
        .collect();
    held.push(wire::Held { name: "default/stray".to_owned(), entry_version: 5, endpoints_version: None });
    let sums = |held: &[wire::Held]| {
        let mut sums = wasmesh_core::checksum::Checksums::default();
        for held in held {
            let versions = wasmesh_proto::convert::held_versions(held.entry_version, held.endpoints_version);
            sums.add(&held.name.parse().unwrap(), &versions);
        }
        sums
    };
    proxy.send(FromProxy::Ack(wire::Ack { nonce: first.nonce, rejected: vec![], checksum: sums(&held).total() }));
    let mut known_stray = false;
    loop {
        match proxy.receive().unwrap_or_else(|status| panic!("the stream has ended: {status:?}")) {
            ToProxy::ChecksumsRequest(_) => {
                let buckets = sums(&held).as_slice().to_vec();
                proxy.send(FromProxy::Checksums(wire::Checksums { buckets }));
            }
            ToProxy::InventoryRequest(request) => {
                let in_bucket = |held: &&wire::Held| {
                    let bucket = wasmesh_core::name_map::bucket_of(&held.name.parse().unwrap());
                    request.buckets.contains(&(bucket as u32))
                };
                let answer = held.iter().filter(in_bucket).cloned().collect();
                known_stray = true;
                proxy.send(FromProxy::Inventory(wire::Inventory { buckets: request.buckets.clone(), held: answer }));
            }
            ToProxy::Update(update) => {
                held.retain(|held| !update.removed.contains(&held.name));
                for item in &update.items {
                    held.retain(|held| held.name != item.name);
                    held.push(wire::Held {
                        name: item.name.clone(),
                        entry_version: item.entry_version,
                        endpoints_version: None,
                    });
                }
                let checksum = sums(&held).total();
                proxy.send(FromProxy::Ack(wire::Ack { nonce: update.nonce, rejected: vec![], checksum }));
            }
            other @ (ToProxy::Welcome(_) | ToProxy::Peers(_) | ToProxy::Owners(_)) => panic!("out of turn: {other:?}"),
        }
        if known_stray && held.len() == 2 && held.iter().all(|held| held.name != "default/stray") {
            break;
        }
    }
    control_plane.wait_current("fake");
}

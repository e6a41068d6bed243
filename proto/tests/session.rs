//! Guarantees of the protocol that one exchange can show.
#![allow(clippy::unwrap_used, reason = "these are tests, though outside of a test function clippy cannot tell")]

mod support;

use std::{collections::BTreeSet, sync::Arc};

use prost::Message;
use support::{Pair, expected, held, service, snapshot};
use wasmesh_core::{
    candidates::Viewpoint,
    checksum::{Checksums, HeldVersions},
    name::ServiceName,
    service::Service,
    snapshot::Snapshot,
};
use wasmesh_proto::{
    PROTOCOL,
    session::{
        client::ClientSession,
        encoder::Encoder,
        server::{ServerSession, SessionError},
    },
    wire::{self, from_proxy::Message as FromProxy, to_proxy::Message as ToProxy},
};

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn connected(latest: &Snapshot, encoder: &Encoder) -> Pair {
    let mut pair = Pair::new("");
    pair.connect();
    pair.settle(latest, encoder);
    pair
}

fn says(message: FromProxy) -> wire::FromProxy {
    wire::FromProxy { message: Some(message) }
}

fn hello(protocol: u32) -> wire::FromProxy {
    says(FromProxy::Hello(wire::Hello { protocol, ..Default::default() }))
}

/// The updates among some messages.
fn updates(messages: &[wire::ToProxy]) -> Vec<&wire::Update> {
    messages
        .iter()
        .filter_map(|message| match &message.message {
            Some(ToProxy::Update(update)) => Some(update),
            _ => None,
        })
        .collect()
}

#[test]
fn the_directory_comes_always_and_endpoints_on_first_use() {
    let (encoder, latest) = (Encoder::default(), snapshot(&[service("a/web", &["10.0.0.1"], &[1, 2])]));
    let mut pair = connected(&latest, &encoder);
    let web = name("a/web");
    assert!(pair.client.table().get(&web).is_some_and(|held| held.endpoints.is_none()));
    pair.subscribe(&web);
    pair.settle(&latest, &encoder);
    assert_eq!(pair.client.table().get(&web).and_then(|held| Some(held.endpoints.as_ref()?.len())), Some(2));
    pair.unsubscribe(&web);
    pair.settle(&latest, &encoder);
    assert!(pair.client.table().get(&web).is_some_and(|held| held.endpoints.is_none()));
}

#[test]
fn what_a_proxy_has_acknowledged_it_holds_while_more_is_under_way() {
    let encoder = Encoder::default();
    let version = |octet| snapshot(&[service("a/web", &[&format!("10.0.0.{octet}")], &[1])]);
    let (first, second, third) = (version(1), version(2), version(3));
    let web = name("a/web");
    let holds = |pair: &Pair, snapshot: &Snapshot| {
        let holding = pair.server.as_ref().unwrap().holding().unwrap();
        holding.service(&web).is_some_and(|held| Arc::ptr_eq(held, snapshot.get(&web).unwrap()))
    };
    let mut pair = connected(&first, &encoder);
    assert!(holds(&pair, &first));
    pair.poll(&second, &encoder);
    assert!(holds(&pair, &first), "the second is under way");
    pair.deliver_down();
    pair.deliver_up(&third);
    // The third is under way as soon as the second has been acknowledged: it is never at rest, and still counts.
    pair.poll(&third, &encoder);
    assert!(holds(&pair, &second) && !pair.server.as_ref().unwrap().is_current(&third));
    // The next replica knows at once what it has.
    pair.settle(&third, &encoder);
    pair.connect();
    pair.deliver_up(&third);
    assert!(holds(&pair, &third));
}

#[test]
fn a_slow_proxy_owes_one_difference_and_never_a_queue() {
    let encoder = Encoder::default();
    let mut pair = connected(&snapshot(&[service("a/web", &[], &[1])]), &encoder);
    pair.poll(&snapshot(&[service("a/web", &["10.0.0.1"], &[1])]), &encoder);
    let mut last = Snapshot::default();
    for octet in 2..50 {
        last = snapshot(&[service("a/web", &[&format!("10.0.0.{octet}")], &[1])]);
        pair.poll(&last, &encoder);
    }
    assert_eq!(pair.to_client.len(), 1, "the first is not acknowledged yet");
    assert_eq!(pair.settle(&last, &encoder), 2, "and after that one difference leads to the last");
    assert_eq!(held(pair.client.table()), expected(&last, &pair.viewpoint(), &BTreeSet::new()));
}

#[test]
fn an_endpoint_that_changes_travels_alone() {
    let (encoder, web) = (Encoder::default(), name("a/web"));
    let many: Vec<u64> = (1..200).collect();
    let before = snapshot(&[service("a/web", &[], &many)]);
    let mut pair = connected(&before, &encoder);
    pair.subscribe(&web);
    pair.settle(&before, &encoder);
    let after = snapshot(&[service("a/web", &[], &many[1..])]);
    pair.poll(&after, &encoder);
    let messages = Vec::from_iter(pair.to_client.iter().cloned());
    let bytes: usize = updates(&messages).iter().flat_map(|update| &update.items).map(|item| item.body.len()).sum();
    assert!(bytes < 64, "{bytes} bytes for one endpoint of {}", many.len());
}

#[test]
fn a_large_update_comes_in_parts_and_takes_effect_as_one() {
    let encoder = Encoder::default();
    let many: Vec<u64> = (1..3_000).collect();
    let services: Vec<_> = (0..20).map(|n| service(&format!("a/web-{n}"), &[], &many)).collect();
    let latest = snapshot(&services);
    let mut pair = Pair::new("");
    for service in &services {
        pair.subscribe(&service.spec.value.name);
    }
    pair.connect();
    pair.deliver_up(&latest);
    pair.poll(&latest, &encoder);
    pair.deliver_down();
    let parts = pair.to_client.len();
    assert!(parts > 1);
    for _ in 1..parts {
        pair.deliver_down();
        assert!(pair.client.table().is_empty(), "nothing takes effect before the last part");
    }
    pair.settle(&latest, &encoder);
    assert_eq!(pair.client.table().len(), 20);
}

/// More Services than can be named in one message.
fn very_many() -> Snapshot {
    let long = "n".repeat(60);
    (0..14_000).map(|n| service(&format!("{long}/{n}"), &[], &[])).map(named).collect()
}

fn named(service: Arc<Service>) -> (ServiceName, Arc<Service>) {
    (service.spec.value.name.clone(), service)
}

/// Delivers everything, and fails on a message that is larger than it may be.
fn settle_in_small_messages(pair: &mut Pair, latest: &Snapshot, encoder: &Encoder) {
    const LIMIT: usize = (1024 + 64) * 1024;
    for _ in 0..100 {
        pair.poll(latest, encoder);
        if pair.to_client.is_empty() && pair.to_server.is_empty() {
            return;
        }
        assert!(pair.to_client.iter().all(|message| message.encoded_len() < LIMIT));
        while !pair.to_client.is_empty() {
            pair.deliver_down();
        }
        assert!(pair.to_server.iter().all(|message| message.encoded_len() < LIMIT));
        while !pair.to_server.is_empty() {
            pair.deliver_up(latest);
        }
    }
    panic!("the two ends never come to rest");
}

#[test]
fn however_much_there_is_to_say_no_message_is_large() {
    let (encoder, latest) = (Encoder::default(), very_many());
    let mut pair = Pair::new("");
    for (name, _) in latest.iter() {
        pair.subscribe(name);
    }
    pair.connect();
    settle_in_small_messages(&mut pair, &latest, &encoder);
    let wanted = expected(&latest, &pair.viewpoint(), pair.client.subscriptions());
    assert_eq!(held(pair.client.table()), wanted);

    // A proxy that has everything meets a replica that has nothing, or has everything in another version.
    let other: Snapshot = latest.iter().map(|(name, _)| named(service(name.as_str(), &[], &[1]))).collect();
    for latest in [Snapshot::default(), other] {
        pair.connect();
        settle_in_small_messages(&mut pair, &latest, &encoder);
        let wanted = expected(&latest, &pair.viewpoint(), pair.client.subscriptions());
        assert_eq!(held(pair.client.table()), wanted);
        assert_eq!(pair.server.as_ref().unwrap().subscriptions().len(), 14_000);
    }

    // What is given up is given up in parts too.
    let names: Vec<_> = latest.iter().map(|(name, _)| name.clone()).collect();
    pair.to_server.extend(pair.client.unsubscribe(&names));
    assert!(!pair.client.subscriptions().is_empty());
    pair.to_server.extend(pair.client.unsubscribe(&names));
    assert!(pair.client.subscriptions().is_empty());
    settle_in_small_messages(&mut pair, &latest, &encoder);
    assert!(pair.server.as_ref().unwrap().subscriptions().is_empty());
}

#[test]
fn a_proxy_that_comes_back_is_sent_what_differs_and_nothing_else() {
    let encoder = Encoder::default();
    let services: Vec<_> = (0..100).map(|n| service(&format!("a/web-{n}"), &[], &[n])).collect();
    let mut latest = snapshot(&services);
    let mut pair = connected(&latest, &encoder);
    pair.connect();
    pair.deliver_up(&latest);
    pair.poll(&latest, &encoder);
    let messages = Vec::from_iter(pair.to_client.drain(..));
    let (items, removed): (usize, usize) =
        updates(&messages).iter().fold((0, 0), |(i, r), u| (i + u.items.len(), r + u.removed.len()));
    assert_eq!((items, removed), (0, 0), "nothing has changed");
    pair.disconnect();
    latest.remove(&name("a/web-7"));
    latest.insert(name("a/web-8"), service("a/web-8", &["10.0.0.8"], &[8]));
    pair.connect();
    pair.deliver_up(&latest);
    while pair
        .to_client
        .iter()
        .all(|message| matches!(message.message, Some(ToProxy::Welcome(_) | ToProxy::InventoryRequest(_))))
    {
        pair.deliver_down();
        pair.deliver_up(&latest);
        pair.poll(&latest, &encoder);
    }
    let messages = Vec::from_iter(pair.to_client.iter().cloned());
    let changed: Vec<_> = updates(&messages).iter().flat_map(|update| &update.items).map(|item| &*item.name).collect();
    let removed: Vec<_> = updates(&messages).iter().flat_map(|update| &update.removed).map(|name| &**name).collect();
    assert_eq!((changed, removed), (vec!["a/web-8"], vec!["a/web-7"]));
}

#[test]
fn an_address_changes_hands_in_one_update() {
    let encoder = Encoder::default();
    let mut pair = connected(&snapshot(&[service("a/old", &["10.0.0.1"], &[1])]), &encoder);
    let latest = snapshot(&[service("a/new", &["10.0.0.1"], &[2])]);
    assert_eq!(pair.settle(&latest, &encoder), 1);
    let owner =
        pair.client.table().directory().by_vip("10.0.0.1".parse().unwrap()).map(|entry| entry.spec.name.clone());
    assert_eq!(owner, Some(name("a/new")));
}

#[test]
fn a_subscription_to_nothing_is_told_so_and_later_served() {
    let encoder = Encoder::default();
    let mut pair = connected(&Snapshot::default(), &encoder);
    pair.subscribe(&name("a/ghost"));
    pair.deliver_up(&Snapshot::default());
    pair.poll(&Snapshot::default(), &encoder);
    let messages = Vec::from_iter(pair.to_client.iter().cloned());
    assert_eq!(updates(&messages)[0].absent, ["a/ghost"]);
    let latest = snapshot(&[service("a/ghost", &[], &[1])]);
    pair.settle(&latest, &encoder);
    assert!(pair.client.table().get(&name("a/ghost")).is_some_and(|held| held.endpoints.is_some()));
}

/// Delivers what the control plane says, with every item for `bad` spoiled. Returns these items as they were.
fn deliver_spoiled_by(
    pair: &mut Pair,
    latest: &Snapshot,
    encoder: &Encoder,
    bad: &str,
    spoil: impl Fn(&mut wire::Item),
) -> Vec<wire::ItemBody> {
    let mut sent = Vec::new();
    for _ in 0..20 {
        pair.poll(latest, encoder);
        for message in &mut pair.to_client {
            let Some(ToProxy::Update(update)) = &mut message.message else { continue };
            for item in update.items.iter_mut().filter(|item| item.name == bad) {
                sent.push(body(item));
                spoil(item);
            }
        }
        while !pair.to_client.is_empty() {
            pair.deliver_down();
        }
        pair.deliver_up(latest);
    }
    sent
}

fn body(item: &wire::Item) -> wire::ItemBody {
    wire::ItemBody::decode(item.body.clone()).unwrap()
}

/// The same, spoiled so that nothing of it can be read. Returns how many items there were.
fn deliver_spoiled(pair: &mut Pair, latest: &Snapshot, encoder: &Encoder, bad: &str) -> usize {
    deliver_spoiled_by(pair, latest, encoder, bad, |item| item.body = vec![0xff].into()).len()
}

/// Makes the entry of an item, if it carries one, one that cannot be.
fn spoil_entry(item: &mut wire::Item) {
    let mut spoiled = body(item);
    if let Some(entry) = &mut spoiled.entry {
        entry.ports[0].port = 0;
    }
    item.body = spoiled.encode_to_vec().into();
}

/// Makes the endpoints of an item, if it carries any, such that cannot be.
fn spoil_endpoints(item: &mut wire::Item) {
    let mut spoiled = body(item);
    for endpoint in spoiled.endpoints.iter_mut().flat_map(|endpoints| &mut endpoints.upserts) {
        endpoint.weight = 0;
    }
    item.body = spoiled.encode_to_vec().into();
}

fn endpoints_of(pair: &Pair, service: &str) -> Option<Vec<u64>> {
    let held = pair.client.table().get(&name(service))?;
    Some(held.endpoints.as_ref()?.iter().map(|endpoint| endpoint.id.0).collect())
}

fn owner(pair: &Pair, vip: &str) -> Option<String> {
    Some(pair.client.table().directory().by_vip(vip.parse().unwrap())?.spec.name.to_string())
}

#[test]
fn an_entry_applies_beside_endpoints_that_are_bad() {
    let encoder = Encoder::default();
    let first = snapshot(&[service("a/old", &["10.0.0.1"], &[1]), service("a/new", &[], &[1])]);
    let mut pair = connected(&first, &encoder);
    pair.subscribe(&name("a/new"));
    pair.settle(&first, &encoder);
    // The address changes hands in an update in which the new owner's endpoints are bad.
    let latest = snapshot(&[service("a/old", &[], &[1]), service("a/new", &["10.0.0.1"], &[2])]);
    assert_eq!(deliver_spoiled_by(&mut pair, &latest, &encoder, "a/new", spoil_endpoints).len(), 1, "sent once");
    assert_eq!(owner(&pair, "10.0.0.1").as_deref(), Some("a/new"));
    assert_eq!(endpoints_of(&pair, "a/new"), Some(vec![1]), "the old ones stay");
    let rejected = &pair.client.rejected()[&name("a/new")];
    assert!(rejected.reason.contains("weight") && !rejected.resend, "{rejected:?}");
    // Endpoints that are good again are had.
    let latest = snapshot(&[service("a/old", &[], &[1]), service("a/new", &["10.0.0.1"], &[3])]);
    pair.settle(&latest, &encoder);
    assert_eq!(endpoints_of(&pair, "a/new"), Some(vec![3]));
    assert!(pair.client.rejected().is_empty() && pair.server.unwrap().rejected().is_empty());
}

#[test]
fn a_bad_resource_is_rejected_alone_and_its_version_is_not_sent_again() {
    let encoder = Encoder::default();
    let latest = snapshot(&[service("a/good", &["10.0.0.1"], &[1]), service("a/bad", &["10.0.0.2"], &[2])]);
    let mut pair = Pair::new("");
    pair.connect();
    assert_eq!(deliver_spoiled(&mut pair, &latest, &encoder, "a/bad"), 1, "sent once");
    assert!(pair.client.table().get(&name("a/good")).is_some(), "the rest applies");
    let rejected = pair.server.as_ref().unwrap().rejected();
    assert!(rejected[&name("a/bad")].reason.contains("undecodable"), "{rejected:?}");
    // Nor after a reconnect, nor because something else changes.
    pair.connect();
    let mut latest = latest;
    latest.insert(name("a/other"), service("a/other", &[], &[3]));
    assert_eq!(deliver_spoiled(&mut pair, &latest, &encoder, "a/bad"), 0);
    assert!(pair.client.table().get(&name("a/other")).is_some());
    // A new version is.
    latest.insert(name("a/bad"), service("a/bad", &["10.0.0.3"], &[2]));
    pair.settle(&latest, &encoder);
    assert!(pair.client.table().get(&name("a/bad")).is_some());
    assert!(pair.client.rejected().is_empty() && pair.server.unwrap().rejected().is_empty());
}

#[test]
fn a_bad_entry_is_not_sent_again_because_its_endpoints_change() {
    let encoder = Encoder::default();
    let first = snapshot(&[service("a/web", &["10.0.0.1"], &[1])]);
    let mut pair = connected(&first, &encoder);
    pair.subscribe(&name("a/web"));
    pair.settle(&first, &encoder);
    let mut sent = Vec::new();
    for id in 2..6 {
        let latest = snapshot(&[service("a/web", &["10.0.0.2"], &[id])]);
        sent.extend(deliver_spoiled_by(&mut pair, &latest, &encoder, "a/web", spoil_entry));
        assert_eq!(endpoints_of(&pair, "a/web"), Some(vec![id]), "the endpoints go on with the entry that is held");
        assert_eq!(owner(&pair, "10.0.0.1").as_deref(), Some("a/web"));
        assert!(pair.client.rejected().contains_key(&name("a/web")), "and it is still shown");
        assert!(pair.server.as_ref().unwrap().rejected().contains_key(&name("a/web")));
    }
    assert_eq!(sent.iter().filter(|body| body.entry.is_some()).count(), 1);
    // Nor on another stream.
    pair.connect();
    let latest = snapshot(&[service("a/web", &["10.0.0.2"], &[6])]);
    let sent = deliver_spoiled_by(&mut pair, &latest, &encoder, "a/web", spoil_entry);
    assert!(sent.iter().all(|body| body.entry.is_none()), "{sent:?}");
    // Another version is.
    let latest = snapshot(&[service("a/web", &["10.0.0.3"], &[6])]);
    pair.settle(&latest, &encoder);
    assert_eq!(owner(&pair, "10.0.0.3").as_deref(), Some("a/web"));
    assert!(pair.client.rejected().is_empty() && pair.server.unwrap().rejected().is_empty());
}

#[test]
fn bad_endpoints_are_not_sent_again_because_their_entry_changes() {
    let encoder = Encoder::default();
    let first = snapshot(&[service("a/web", &[], &[1])]);
    let mut pair = connected(&first, &encoder);
    pair.subscribe(&name("a/web"));
    pair.settle(&first, &encoder);
    let mut sent = Vec::new();
    for octet in 1..5 {
        let vip = format!("10.0.0.{octet}");
        let latest = snapshot(&[service("a/web", &[&vip], &[2])]);
        sent.extend(deliver_spoiled_by(&mut pair, &latest, &encoder, "a/web", spoil_endpoints));
        assert_eq!((owner(&pair, &vip).as_deref(), endpoints_of(&pair, "a/web")), (Some("a/web"), Some(vec![1])));
        assert!(pair.client.rejected().contains_key(&name("a/web")));
    }
    assert_eq!(sent.iter().filter(|body| body.endpoints.is_some()).count(), 1);
}

#[test]
fn an_address_that_becomes_free_goes_to_whoever_was_refused_it() {
    let encoder = Encoder::default();
    let first = snapshot(&[service("a/owner", &["10.0.0.1"], &[1]), service("a/heir", &[], &[2])]);
    let mut pair = connected(&first, &encoder);
    // The owner's change is bad, so it keeps its address, and the heir is refused it again and again.
    let latest = snapshot(&[service("a/owner", &["10.0.0.2"], &[1]), service("a/heir", &["10.0.0.1"], &[2])]);
    deliver_spoiled_by(&mut pair, &latest, &encoder, "a/owner", spoil_entry);
    assert_eq!(owner(&pair, "10.0.0.1").as_deref(), Some("a/owner"));
    assert!(pair.server.as_ref().unwrap().rejected()[&name("a/heir")].resend);
    // What has nothing to do with addresses changes nothing about that.
    pair.subscribe(&name("a/owner"));
    assert_eq!(pair.settle(&latest, &encoder), 1);
    // The owner lets go, and the heir's own version is the same as before.
    let latest = snapshot(&[service("a/owner", &["10.0.0.3"], &[1]), service("a/heir", &["10.0.0.1"], &[2])]);
    pair.settle(&latest, &encoder);
    assert_eq!(owner(&pair, "10.0.0.1").as_deref(), Some("a/heir"));
    assert!(pair.client.rejected().is_empty() && pair.server.unwrap().rejected().is_empty());
}

#[test]
fn two_bad_parts_do_not_take_turns() {
    let encoder = Encoder::default();
    let first = snapshot(&[service("a/web", &["10.0.0.1"], &[1])]);
    let mut pair = connected(&first, &encoder);
    pair.subscribe(&name("a/web"));
    pair.settle(&first, &encoder);
    let latest = snapshot(&[service("a/web", &["10.0.0.2"], &[2])]);
    let spoil = |item: &mut wire::Item| {
        spoil_entry(item);
        spoil_endpoints(item);
    };
    // The entry is rejected, then the endpoints by themselves, and that is that.
    assert_eq!(deliver_spoiled_by(&mut pair, &latest, &encoder, "a/web", spoil).len(), 2);
    assert_eq!((endpoints_of(&pair, "a/web"), owner(&pair, "10.0.0.1").as_deref()), (Some(vec![1]), Some("a/web")));
    // Each is mended by itself.
    let latest = snapshot(&[service("a/web", &["10.0.0.2"], &[3])]);
    pair.settle(&latest, &encoder);
    assert_eq!((endpoints_of(&pair, "a/web"), owner(&pair, "10.0.0.2")), (Some(vec![3]), None));
    let latest = snapshot(&[service("a/web", &["10.0.0.3"], &[3])]);
    pair.settle(&latest, &encoder);
    assert_eq!(owner(&pair, "10.0.0.3").as_deref(), Some("a/web"));
    assert!(pair.client.rejected().is_empty() && pair.server.unwrap().rejected().is_empty());
}

#[test]
fn an_item_without_a_usable_name_is_rejected_once_and_goes_round_in_no_circle() {
    let encoder = Encoder::default();
    let latest = snapshot(&[service("a/good", &["10.0.0.1"], &[1]), service("a/bad", &["10.0.0.2"], &[2])]);
    let mut pair = Pair::new("");
    pair.connect();
    let mut names = Vec::new();
    for _ in 0..20 {
        pair.poll(&latest, &encoder);
        while let Some(mut message) = pair.to_client.pop_front() {
            if let Some(ToProxy::Update(update)) = &mut message.message {
                names.extend(update.items.iter().map(|item| item.name.clone()));
                // As if the name were one that only a newer proxy knows.
                update
                    .items
                    .iter_mut()
                    .filter(|item| item.name == "a/bad")
                    .for_each(|item| item.name = "a/b/ad".into());
            }
            pair.to_client.push_front(message);
            pair.deliver_down();
        }
        for message in &mut pair.to_server {
            if let Some(FromProxy::Ack(ack)) = &mut message.message {
                let verdicts = ack.rejected.iter_mut().filter(|verdict| verdict.name == "a/b/ad");
                verdicts.for_each(|verdict| verdict.name = "a/bad".into());
            }
        }
        pair.deliver_up(&latest);
    }
    assert_eq!(names, ["a/bad", "a/good"], "each is sent once");
    assert!(pair.client.table().get(&name("a/good")).is_some(), "the rest applies");
    let server = pair.server.unwrap();
    assert!(server.is_current(&latest));
    let holding = server.holding().unwrap();
    assert!(holding.service(&name("a/good")).is_some() && holding.service(&name("a/bad")).is_none());
    assert!(server.rejected()[&name("a/bad")].reason.contains("not a Service name"), "{:?}", server.rejected());
}

#[test]
fn a_difference_is_noticed_and_repaired() {
    let encoder = Encoder::default();
    let first = snapshot(&[service("a/web", &["10.0.0.1"], &[1]), service("a/db", &[], &[2])]);
    let mut pair = connected(&first, &encoder);
    // A server that believes the proxy to hold what it does not.
    let mut other = connected(&snapshot(&[service("a/web", &["10.0.0.9"], &[7])]), &encoder);
    std::mem::swap(&mut pair.client, &mut other.client);
    let mut latest = first;
    latest.insert(name("a/new"), service("a/new", &[], &[3]));
    pair.settle(&latest, &encoder);
    assert_eq!(held(pair.client.table()), expected(&latest, &pair.viewpoint(), &BTreeSet::new()));
}

#[test]
fn a_subscription_that_goes_and_comes_back_under_way_is_no_difference() {
    let encoder = Encoder::default();
    let first = snapshot(&[service("a/web", &[], &[1]), service("a/db", &[], &[1])]);
    for latest in [
        snapshot(&[service("a/web", &["10.0.0.1"], &[1]), service("a/db", &["10.0.0.2"], &[1])]),
        snapshot(&[service("a/web", &[], &[2]), service("a/db", &[], &[2])]),
        snapshot(&[service("a/web", &["10.0.0.1"], &[2]), service("a/db", &["10.0.0.2"], &[2])]),
    ] {
        let mut pair = connected(&first, &encoder);
        pair.subscribe(&name("a/web"));
        pair.settle(&first, &encoder);
        // One subscription was there before the update, the other is first answered by it.
        pair.subscribe(&name("a/db"));
        pair.deliver_up(&latest);
        pair.poll(&latest, &encoder);
        for service in ["a/web", "a/db"] {
            pair.unsubscribe(&name(service));
            pair.subscribe(&name(service));
        }
        pair.settle(&latest, &encoder);
        let wanted = expected(&latest, &pair.viewpoint(), pair.client.subscriptions());
        assert_eq!(held(pair.client.table()), wanted);
        assert_eq!(pair.compared, 0, "there was nothing to repair");
    }
}

#[test]
fn messages_out_of_turn_end_the_stream_and_say_why() {
    let check = |messages: Vec<wire::FromProxy>, expected: &str| {
        let mut server = ServerSession::new("replica");
        let mut error = None;
        for message in messages {
            error = server.on_message(message, &Snapshot::default()).err();
        }
        let error = error.unwrap_or_else(|| panic!("accepted: {expected}"));
        assert!(error.to_string().contains(expected), "{error}");
    };
    let ack = || says(FromProxy::Ack(wire::Ack::default()));
    check(vec![ack()], "the first message must be a Hello");
    check(vec![hello(1), hello(1)], "a second Hello");
    check(vec![hello(2)], "protocol revision 2");
    check(vec![hello(1), ack()], "not under way");
    check(vec![hello(1), says(FromProxy::Inventory(wire::Inventory::default()))], "not asked for");
    check(vec![wire::FromProxy { message: None }], "the first message must be a Hello");
    let subscribe = wire::Subscribe { add: vec!["nonsense".to_owned()], remove: Vec::new() };
    check(vec![hello(1), says(FromProxy::Subscribe(subscribe))], "not a Service name");
    check(vec![hello(1), says(FromProxy::Checksums(wire::Checksums { buckets: vec![1, 2] }))], "256 buckets expected");
}

#[test]
fn what_a_newer_proxy_has_to_say_beyond_is_passed_over() {
    let mut server = ServerSession::new("replica");
    server.on_message(hello(1), &Snapshot::default()).unwrap();
    server.on_message(wire::FromProxy { message: None }, &Snapshot::default()).unwrap();
}

#[test]
fn a_proxy_whose_state_cannot_be_repaired_is_sent_away() {
    let encoder = Encoder::default();
    let mut server = ServerSession::new("replica");
    let mut latest = snapshot(&[service("a/web", &[], &[1])]);
    server.on_message(hello(1), &latest).unwrap();
    let acknowledge = |server: &mut ServerSession, latest: &Snapshot| {
        let messages = server.poll(latest, &encoder);
        let nonce = updates(&messages)[0].nonce;
        let ack = says(FromProxy::Ack(wire::Ack { nonce, rejected: Vec::new(), checksum: 42 }));
        server.on_message(ack, latest).map(|_| ())
    };
    assert_eq!(acknowledge(&mut server, &latest), Ok(()));
    latest = snapshot(&[service("a/web", &["10.0.0.1"], &[1])]);
    assert!(server.poll(&latest, &encoder).is_empty(), "an update before it is known what the proxy holds");

    // Bucket by bucket it claims to agree, and yet the whole does not.
    let mut sums = Checksums::default();
    let held = snapshot(&[service("a/web", &[], &[1])]);
    for (name, service) in held.iter() {
        sums.add(name, &HeldVersions { entry: service.entry_version(&Viewpoint::default()), endpoints: None });
    }
    let checksums = wire::Checksums { buckets: sums.as_slice().to_vec() };
    server.on_message(says(FromProxy::Checksums(checksums)), &latest).unwrap();
    let last = acknowledge(&mut server, &latest);
    assert_eq!(last, Err(SessionError::Diverged));
}

#[test]
fn peers_are_handed_over_as_they_are_told() {
    let mut session = ClientSession::default();
    let welcome = wire::Welcome { protocol: PROTOCOL, ..Default::default() };
    session.on_message(wire::ToProxy { message: Some(ToProxy::Welcome(welcome)) }).unwrap();
    let told = |service: &str, count| wire::ServicePeers { service: service.to_owned(), count };
    let services = vec![told("a/web", 7), told("no name", 3), told("a/alone", 0)];
    let peers = wire::ToProxy { message: Some(ToProxy::Peers(wire::Peers { services })) };
    let reaction = session.on_message(peers).unwrap();
    let shown: Vec<_> = reaction.peers.iter().map(|(name, count)| format!("{name} {count}")).collect();
    assert_eq!(shown, ["a/web 7", "a/alone 1"]);
    assert!(reaction.replies.is_empty());
}

//! The laws of a proxy's table: whatever arrives, it stays consistent.

mod support;

use std::{collections::HashSet, net::IpAddr};

use proptest::{collection, prelude::*};
use support::{VIPS, any_endpoints, any_name, any_spec, endpoint, entry, ip, name, spec};
use wasmesh_core::{
    checksum::Checksums,
    endpoint::{EndpointSet, EndpointsDelta, EndpointsDeltaError},
    name::ServiceName,
    table::{Held, Rejection, ServiceChange, Table, Update},
    version::Version,
};

/// A change that fits: the entry of a Service and all of its endpoints.
fn declare(service: &str, vips: &[&str]) -> ServiceChange {
    let endpoints = EndpointSet::new([endpoint("10.0.0.1:80")]);
    ServiceChange {
        name: name(service),
        entry: Some(entry(spec(service, vips), &endpoints)),
        endpoints: Some(endpoints.as_replacement()),
    }
}

/// A delta that fits no list.
fn misfit() -> EndpointsDelta {
    EndpointsDelta { base: Some(Version(1)), version: Version(2), upserts: Vec::new(), removed: Vec::new() }
}

fn update(changed: impl IntoIterator<Item = ServiceChange>) -> Update {
    Update { removed: Vec::new(), changed: changed.into_iter().collect() }
}

fn table(changed: impl IntoIterator<Item = ServiceChange>) -> Table {
    let (table, rejected) = Table::default().apply(update(changed));
    assert_eq!(rejected, []);
    table
}

fn owner(table: &Table, vip: &str) -> Option<String> {
    table.directory().by_vip(ip(vip)).map(|entry| entry.spec.name.to_string())
}

fn owners(table: &Table) -> Vec<Option<String>> {
    VIPS.iter().map(|vip| owner(table, vip)).collect()
}

/// What must hold of every table.
#[track_caller]
fn assert_consistent(table: &Table) {
    let mut checksums = Checksums::default();
    for (name, held) in table.iter() {
        checksums.add(name, &held.versions());
        assert_eq!(*name, held.entry.value.spec.name);
    }
    assert_eq!(*table.checksums(), checksums);
    assert_eq!(table.checksums().total(), checksums.total());
    for vip in VIPS.map(ip) {
        if let Some(found) = table.directory().by_vip(vip) {
            assert!(found.spec.vips().contains(&vip), "{vip} leads to {}, which does not declare it", found.spec.name);
            assert_eq!(table.get(&found.spec.name).map(|held| &held.entry.value), Some(found));
        }
    }
}

/// One item of an update: sometimes without an entry, under a wrong name, or with endpoints that do not fit.
fn any_change() -> impl Strategy<Value = ServiceChange> {
    let endpoints = prop_oneof![
        2 => Just(None),
        6 => any_endpoints().prop_map(|set| Some(set.as_replacement())),
        1 => Just(Some(misfit())),
    ];
    let entry = (any_name(), any_endpoints()).prop_flat_map(|(name, endpoints)| {
        any_spec(name.clone()).prop_map(move |spec| (name.clone(), entry(spec, &endpoints)))
    });
    let kept = prop_oneof![8 => Just(true), 1 => Just(false)];
    (entry, kept, proptest::option::weighted(0.05, any_name()), endpoints).prop_map(
        |((name, entry), kept, other_name, endpoints)| ServiceChange {
            name: other_name.unwrap_or(name),
            entry: kept.then_some(entry),
            endpoints,
        },
    )
}

fn any_update() -> impl Strategy<Value = Update> {
    (collection::vec(any_name(), 0..3), collection::vec(any_change(), 0..6))
        .prop_map(|(removed, changed)| Update { removed, changed })
}

/// What a change leads to when its entry is not rejected.
fn expected(before: Option<&Held>, change: &ServiceChange) -> Option<Held> {
    let entry = change.entry.clone().or_else(|| before.map(|held| held.entry.clone()))?;
    let held = before.and_then(|held| held.endpoints.clone());
    let endpoints = match change.endpoints.clone() {
        // Endpoints that do not fit leave the old ones.
        Some(delta) => EndpointSet::apply(held.as_deref(), delta).map(Into::into).ok().or(held),
        None => held,
    };
    Some(Held { entry, endpoints })
}

proptest! {
    #[test]
    fn a_table_stays_consistent_whatever_arrives(updates in collection::vec(any_update(), 1..6)) {
        let mut table = Table::default();
        for update in updates {
            (table, _) = table.apply(update);
            assert_consistent(&table);
        }
    }

    #[test]
    fn an_item_is_applied_or_rejected_and_misfit_endpoints_hold_up_no_entry(start in any_update(), next in any_update()) {
        let (before, _) = Table::default().apply(start);
        let mut seen = HashSet::new();
        let changed: Vec<_> = next.changed.into_iter().filter(|change| seen.insert(change.name.clone())).collect();
        let removed: Vec<_> = next.removed.into_iter().filter(|name| !seen.contains(name)).collect();
        let (after, rejected) = before.apply(Update { removed: removed.clone(), changed: changed.clone() });
        let misfit = |reason: &Rejection| matches!(reason, Rejection::Endpoints(_));
        let is_rejected = |name: &ServiceName| rejected.iter().any(|(other, reason)| other == name && !misfit(reason));
        for change in &changed {
            let was = before.get(&change.name);
            if is_rejected(&change.name) {
                prop_assert_eq!(after.get(&change.name), was);
            } else {
                prop_assert_eq!(after.get(&change.name).cloned(), expected(was, change));
            }
        }
        prop_assert!(removed.iter().all(|name| after.get(name).is_none()));
        let untouched = before.iter().filter(|(name, _)| !seen.contains(*name) && !removed.contains(name));
        for (name, held) in untouched {
            prop_assert_eq!(after.get(name), Some(held));
        }
    }

    #[test]
    fn addresses_change_hands_in_any_order(
        before in Just(VIPS.to_vec()).prop_shuffle(),
        after in Just(VIPS.to_vec()).prop_shuffle(),
        order in Just(vec![0, 1, 2]).prop_shuffle(),
    ) {
        let names = ["shop/web", "shop/db", "default/api"];
        let pairs = |vips: &[&'static str]| [[vips[0], vips[1]], [vips[2], vips[3]], [vips[4], vips[5]]];
        let (before, after) = (pairs(&before), pairs(&after));
        let table = table((0..3).map(|i| declare(names[i], &before[i])));
        let (next, rejected) = table.apply(update(order.into_iter().map(|i| declare(names[i], &after[i]))));
        prop_assert_eq!(rejected, []);
        for i in 0..3 {
            for vip in after[i] {
                prop_assert_eq!(owner(&next, vip), Some(names[i].to_owned()));
            }
        }
        assert_consistent(&next);
    }

    #[test]
    fn dropping_endpoints_and_getting_them_back_leads_to_the_same_table(start in any_update()) {
        let (table, _) = Table::default().apply(start);
        let names: Vec<_> = table.iter().map(|(name, _)| name.clone()).collect();
        let without = table.without_endpoints(&names);
        assert_consistent(&without);
        prop_assert!(without.iter().all(|(_, held)| held.endpoints.is_none()));
        let subscribed = table.iter().filter_map(|(name, held)| {
            let endpoints = Some(held.endpoints.as_ref()?.as_replacement());
            Some(ServiceChange { name: name.clone(), entry: None, endpoints })
        });
        let (back, rejected) = without.apply(update(subscribed));
        // An address that the Service lost to another is no reason to refuse its endpoints.
        prop_assert_eq!(rejected, []);
        prop_assert_eq!(back.checksums(), table.checksums());
        prop_assert_eq!(owners(&back), owners(&table));
    }
}

#[test]
fn row_29_an_address_moves_from_a_service_that_goes_to_one_that_comes() {
    let table = table([declare("shop/old", &["10.96.0.1"])]);
    let moved = Update { removed: vec![name("shop/old")], changed: vec![declare("shop/new", &["10.96.0.1"])] };
    let (next, rejected) = table.apply(moved);
    assert_eq!(rejected, []);
    assert_eq!(owner(&next, "10.96.0.1").as_deref(), Some("shop/new"));
    assert_eq!(owner(&table, "10.96.0.1").as_deref(), Some("shop/old"), "a table never changes");
}

#[test]
fn row_29_two_services_swap_their_addresses_in_either_order() {
    let table = table([declare("shop/a", &["10.96.0.1"]), declare("shop/b", &["10.96.0.2"])]);
    let (a, b) = (declare("shop/a", &["10.96.0.2"]), declare("shop/b", &["10.96.0.1"]));
    for swap in [[a.clone(), b.clone()], [b, a]] {
        let (next, rejected) = table.apply(update(swap));
        assert_eq!(rejected, []);
        assert_eq!(owner(&next, "10.96.0.1").as_deref(), Some("shop/b"));
        assert_eq!(owner(&next, "10.96.0.2").as_deref(), Some("shop/a"));
    }
}

#[test]
fn one_bad_item_is_named_and_the_rest_applies() {
    let table = table([declare("shop/taken", &["10.96.0.1"])]);
    let bad = [
        ServiceChange {
            name: name("shop/ghost"),
            entry: None,
            endpoints: Some(EndpointSet::default().as_replacement()),
        },
        declare("shop/thief", &["10.96.0.3", "10.96.0.1"]),
        ServiceChange { name: name("shop/liar"), ..declare("shop/other", &[]) },
        ServiceChange { endpoints: Some(misfit()), ..declare("shop/torn", &["10.96.0.4"]) },
    ];
    let good = [declare("shop/first", &["10.96.0.2"]), declare("shop/last", &["10.96.0.3"])];
    let [first, last] = good;
    let (next, rejected) = table.apply(update([first].into_iter().chain(bad).chain([last])));
    let expected = [
        (name("shop/ghost"), Rejection::Undeclared),
        (name("shop/thief"), Rejection::VipTaken { vip: ip("10.96.0.1"), owner: name("shop/taken") }),
        (name("shop/liar"), Rejection::WrongName(name("shop/other"))),
        (name("shop/torn"), EndpointsDeltaError::WrongBase { expected: Version(1), held: None }.into()),
    ];
    assert_eq!(rejected, expected);
    assert_eq!(next.len(), 4);
    assert_eq!(owner(&next, "10.96.0.2").as_deref(), Some("shop/first"));
    assert_eq!(owner(&next, "10.96.0.3").as_deref(), Some("shop/last"), "a rejected item holds on to nothing");
    assert_eq!(owner(&next, "10.96.0.4").as_deref(), Some("shop/torn"), "only its endpoints did not fit");
    assert_eq!(next.get(&name("shop/torn")).and_then(|held| held.endpoints.clone()), None);
    assert_consistent(&next);
}

#[test]
fn a_rejected_change_keeps_the_service_as_it_was() {
    let table = table([declare("shop/web", &["10.96.0.1"]), declare("shop/other", &["10.96.0.2"])]);
    let (next, rejected) = table.apply(update([declare("shop/web", &["10.96.0.2"])]));
    assert_eq!(rejected.len(), 1);
    assert_eq!(owners(&next), owners(&table));
    assert_eq!(next.get(&name("shop/web")), table.get(&name("shop/web")));
}

#[test]
fn an_address_is_given_up_also_by_the_second_of_two_changes_of_one_service() {
    let table = table([]);
    let (next, rejected) =
        table.apply(update([declare("shop/web", &["10.96.0.1"]), declare("shop/web", &["10.96.0.2"])]));
    assert_eq!(rejected, []);
    assert_eq!(owner(&next, "10.96.0.1"), None);
    assert_eq!(owner(&next, "10.96.0.2").as_deref(), Some("shop/web"));
}

#[test]
fn a_new_version_of_an_entry_is_found_by_its_address() {
    let table = table([declare("shop/web", &["10.96.0.1"])]);
    let mut changed = spec("shop/web", &["10.96.0.1"]);
    changed.ports.push(support::tcp_port(81));
    let entry = entry(changed, &EndpointSet::default());
    let (next, _) =
        table.apply(update([ServiceChange { name: name("shop/web"), entry: Some(entry), endpoints: None }]));
    let vip: IpAddr = ip("10.96.0.1");
    assert_eq!(next.directory().by_vip(vip).and_then(|entry| entry.spec.tcp_port(81)), Some(1));
}

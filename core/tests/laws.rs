//! The laws of snapshots, maps of names and versions.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use proptest::{collection, prelude::*};
use support::{any_endpoint, any_endpoints, any_name, any_spec};
use wasmesh_core::{
    endpoint::{Endpoint, EndpointId, EndpointSet},
    name::ServiceName,
    name_map::NameMap,
    service::{Affinity, InternalTraffic, Service, ServiceKind, ServiceSpec},
    snapshot::{ServiceDelta, Snapshot, SnapshotDelta, apply, diff},
    version::{Version, Versioned},
};

/// What happens to one Service: it gets this content, or goes.
type Edit = (ServiceName, Option<Arc<Service>>);

fn any_service(name: ServiceName) -> impl Strategy<Value = Arc<Service>> {
    (any_spec(name), any_endpoints()).prop_map(|(spec, endpoints)| Arc::new(Service::new(spec, endpoints)))
}

fn any_edit() -> impl Strategy<Value = Edit> {
    any_name().prop_flat_map(|name| (Just(name.clone()), proptest::option::weighted(0.75, any_service(name))))
}

fn any_edits() -> impl Strategy<Value = Vec<Edit>> {
    collection::vec(any_edit(), 0..8)
}

fn edited<'a>(snapshot: &Snapshot, edits: impl IntoIterator<Item = &'a Edit>) -> Snapshot {
    let mut next = snapshot.clone();
    for (name, service) in edits {
        match service {
            Some(service) => next.insert(name.clone(), Arc::clone(service)),
            None => next.remove(name),
        };
    }
    next
}

proptest! {
    #[test]
    fn applying_a_difference_leads_to_the_other_snapshot(start in any_edits(), edits in any_edits()) {
        let a = edited(&Snapshot::default(), &start);
        let b = edited(&a, &edits);
        prop_assert_eq!(apply(diff(&a, &b), &a), Ok(b));
    }

    #[test]
    fn snapshots_that_share_nothing_differ_only_in_content(start in any_edits()) {
        let a = edited(&Snapshot::default(), &start);
        let rebuilt: Snapshot = a
            .iter()
            .map(|(name, service)| {
                let spec = (*service.spec.value).clone();
                let endpoints = EndpointSet::new(service.endpoints.iter().map(|endpoint| (**endpoint).clone()));
                (name.clone(), Arc::new(Service::new(spec, endpoints)))
            })
            .collect();
        prop_assert_eq!(&a, &rebuilt);
        prop_assert_eq!(diff(&a, &rebuilt), diff(&a, &a));
        prop_assert!(diff(&a, &a).changed.is_empty() && diff(&a, &a).removed.is_empty());
    }

    #[test]
    fn independent_changes_commute(start in any_edits(), edits in any_edits()) {
        let a = edited(&Snapshot::default(), &start);
        let shop = |(name, _): &&Edit| name.namespace() == "shop";
        let (here, elsewhere): (Vec<_>, Vec<_>) = edits.iter().partition(shop);
        let first = diff(&a, &edited(&a, here));
        let second = diff(&a, &edited(&a, elsewhere));
        let one_way = apply(first.clone(), &a).and_then(|next| apply(second.clone(), &next));
        let other_way = apply(second, &a).and_then(|next| apply(first, &next));
        prop_assert_eq!(&one_way, &other_way);
        prop_assert_eq!(one_way, Ok(edited(&a, &edits)));
    }

    #[test]
    fn an_endpoint_delta_fits_its_own_list_only(a in any_endpoints(), b in any_endpoints(), c in any_endpoints()) {
        prop_assert_eq!(EndpointSet::apply(Some(&a), b.delta_from(&a)), Ok(b.clone()));
        prop_assert_eq!(EndpointSet::apply(Some(&c), b.as_replacement()), Ok(b.clone()));
        prop_assert_eq!(EndpointSet::apply(None, b.as_replacement()), Ok(b.clone()));
        // Or one that has had it already.
        prop_assert_eq!(EndpointSet::apply(Some(&c), b.delta_from(&a)).is_ok(), c == a || c == b);
        prop_assert!(EndpointSet::apply(None, b.delta_from(&a)).is_err());
    }

    #[test]
    fn differences_are_those_of_a_naive_comparison(
        start in collection::vec((any_name(), 0_u8..3), 0..8),
        edits in collection::vec((any_name(), proptest::option::of(0_u8..3)), 0..8),
    ) {
        let a: NameMap<u8> = start.iter().cloned().collect();
        let naive_a: BTreeMap<_, _> = start.into_iter().collect();
        let (mut b, mut naive_b) = (a.clone(), naive_a.clone());
        for (name, value) in edits {
            let (was, naive_was) = match value {
                Some(value) => (b.insert(name.clone(), value), naive_b.insert(name, value)),
                None => (b.remove(&name), naive_b.remove(&name)),
            };
            prop_assert_eq!(was, naive_was);
        }
        let mut found: Vec<_> = a.differences(&b, |x, y| x == y).collect();
        found.sort();
        let names = naive_a.keys().chain(naive_b.keys().filter(|name| !naive_a.contains_key(*name)));
        let mut expected: Vec<_> = names
            .map(|name| (name, naive_a.get(name), naive_b.get(name)))
            .filter(|(_, before, now)| before != now)
            .collect();
        expected.sort();
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(a == b, expected.is_empty());
        prop_assert_eq!(b.len(), naive_b.len());
        prop_assert_eq!(b.is_empty(), naive_b.is_empty());
        prop_assert!(naive_b.iter().all(|(name, value)| b.get(name) == Some(value)));
    }

    #[test]
    fn an_endpoint_has_a_new_version_iff_it_has_new_content(a in any_endpoint(), b in any_endpoint()) {
        prop_assert_eq!(Version::of(&a) == Version::of(&b), a == b);
        prop_assert_eq!(Version::of(&a), Version::of(&a.clone()));
        // One field at a time: independent endpoints differ in too many of them to tell which one is forgotten.
        let changes = [
            Endpoint { id: b.id, ..a.clone() },
            Endpoint { port: b.port, ..a.clone() },
            Endpoint { address: b.address, ..a.clone() },
            Endpoint { weight: b.weight, ..a.clone() },
            Endpoint { priority: b.priority, ..a.clone() },
            Endpoint { zone: b.zone, ..a.clone() },
            Endpoint { node: b.node, ..a.clone() },
            Endpoint { hostname: b.hostname, ..a.clone() },
            Endpoint { labels: b.labels, ..a.clone() },
            Endpoint { conditions: b.conditions, ..a.clone() },
            Endpoint { hints: b.hints, ..a.clone() },
        ];
        for changed in changes {
            prop_assert_eq!(Version::of(&a) == Version::of(&changed), a == changed, "{:?}", changed);
        }
    }

    #[test]
    fn a_service_has_a_new_version_iff_it_has_new_content(
        (a, b) in any_name().prop_flat_map(|name| (any_spec(name.clone()), any_spec(name))),
        other in any_name(),
    ) {
        prop_assert_eq!(Version::of(&a) == Version::of(&b), a == b);
        let changes = [
            ServiceSpec { name: other, ..a.clone() },
            ServiceSpec { kind: b.kind, ..a.clone() },
            ServiceSpec { ports: b.ports, ..a.clone() },
            ServiceSpec { affinity: b.affinity, ..a.clone() },
            ServiceSpec { internal_traffic: b.internal_traffic, ..a.clone() },
        ];
        for changed in changes {
            prop_assert_eq!(Version::of(&a) == Version::of(&changed), a == changed, "{:?}", changed);
        }
    }

    #[test]
    fn a_set_has_a_new_version_iff_it_has_new_content(a in any_endpoints(), b in any_endpoints()) {
        prop_assert_eq!(a.version() == b.version(), a.iter().eq(b.iter()));
        prop_assert_eq!(a == b, a.version() == b.version());
    }

    #[test]
    fn the_order_in_which_endpoints_were_seen_does_not_matter(
        endpoints in collection::btree_map(0_u64..8, any_endpoint(), 0..8).prop_map(|by_id| {
            by_id.into_iter().map(|(id, endpoint)| Endpoint {
                id: EndpointId(id), ..endpoint
            }).collect::<Vec<_>>()
        }).prop_flat_map(|endpoints| (Just(endpoints.clone()), Just(endpoints).prop_shuffle())),
    ) {
        let (one_way, other_way) = endpoints;
        prop_assert_eq!(EndpointSet::new(one_way), EndpointSet::new(other_way));
    }
}

#[test]
fn a_version_that_travels_is_carried_and_not_recomputed() {
    let name: ServiceName = "shop/web".parse().unwrap();
    let spec = ServiceSpec {
        name: name.clone(),
        kind: ServiceKind::Headless,
        ports: Vec::new(),
        affinity: Affinity::None,
        internal_traffic: InternalTraffic::Cluster,
    };
    // As a control plane would name it that knows a field more.
    let spec = Versioned { version: Version(42), value: Arc::new(spec) };
    let change = ServiceDelta { spec: Some(spec), endpoints: None };
    let delta = SnapshotDelta { changed: vec![(name.clone(), change)], removed: Vec::new() };
    let snapshot = apply(delta, &Snapshot::default()).unwrap();
    assert_eq!(snapshot.get(&name).map(|service| service.spec.version), Some(Version(42)));
}

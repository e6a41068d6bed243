//! The registry keeps up with changes: whatever their order, the outcome is that of the objects as they are now.

mod common;

use std::sync::Arc;

use common::{find, manifest, registry, shown, upserts, versions};
use proptest::prelude::*;
use wasmesh_control_plane::{
    registry::{ObjectChange, Registry},
    translate::{Object, ObjectKey},
};
use wasmesh_core::name::ServiceName;

/// Few names and addresses, so that objects meet, contest addresses and mention each other.
fn object() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let service = (name(), 0..4u8, 0..3u8, 0..6u8).prop_map(|(name, vip, age, shape)| {
        let labels = if shape == 0 { "{service.kubernetes.io/service-proxy-name: x}" } else { "{}" };
        let created = if age == 0 { "null".to_owned() } else { format!("'2026-01-0{age}T00:00:00Z'") };
        let spec = match shape {
            1 => "clusterIP: None".to_owned(),
            2 => "type: ExternalName, externalName: x.org".to_owned(),
            3 => format!("clusterIPs: [10.0.0.{vip}, 'fd00::{vip}']"),
            _ => format!("clusterIP: 10.0.0.{vip}"),
        };
        format!(
            "---\n{{apiVersion: v1, kind: Service, metadata: {{name: {name}, labels: {labels}, creationTimestamp: {created}}}, \
             spec: {{{spec}, ports: [{{port: 80}}]}}}}\n"
        )
    });
    let slice = (name(), name(), 1..4u8, name(), name(), any::<bool>()).prop_map(|(name, owner, host, pod, node, ready)| {
        format!(
            "---\n{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}, \
             labels: {{kubernetes.io/service-name: {owner}}}}}, addressType: IPv4, ports: [{{name: '', port: 80}}], endpoints: \
             [{{addresses: [10.1.0.{host}], conditions: {{ready: {ready}}}, nodeName: {node}, targetRef: {{kind: Pod, name: {pod}}}}}]}}\n"
        )
    });
    let pod = (name(), 0..3u8).prop_map(|(name, weight)| {
        format!("---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, annotations: {{wasmesh.io/weight: '{weight}'}}}}}}\n")
    });
    let node = (name(), 0..3u8).prop_map(|(name, zone)| {
        format!("---\n{{apiVersion: v1, kind: Node, metadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: z{zone}}}}}}}\n")
    });
    let policy = (name(), name(), 0..3u8, 0..2u8, prop::sample::select(vec!["Maglev", "RingHash"])).prop_map(
        |(name, service, age, section, kind)| {
            let created = if age == 0 { "null".to_owned() } else { format!("'2026-01-0{age}T00:00:00Z'") };
            let section = if section == 0 { "" } else { ", sectionName: ''" };
            format!(
                "---\n{{apiVersion: wasmesh.io/v1alpha1, kind: LoadBalancingPolicy, metadata: {{name: {name}, \
                 creationTimestamp: {created}}}, spec: {{targetRefs: [{{kind: Service, name: {service}{section}}}], \
                 type: {kind}, endpointLabels: [l]}}}}\n"
            )
        },
    );
    prop_oneof![4 => service, 4 => slice, 1 => pod, 1 => node, 2 => policy]
}

/// A history of changes; a third of them deletions.
fn history() -> impl Strategy<Value = Vec<ObjectChange>> {
    let change = (object(), 0..3u8).prop_map(|(yaml, what)| {
        let object = common::objects(&yaml).remove(0);
        if what == 0 { ObjectChange::Delete(object.key()) } else { ObjectChange::Upsert(object) }
    });
    prop::collection::vec(change, 0..40)
}

fn key(change: &ObjectChange) -> ObjectKey {
    match change {
        ObjectChange::Upsert(object) => object.key(),
        ObjectChange::Delete(key) => key.clone(),
    }
}

/// The objects that are left at the end of a history.
fn survivors(history: &[ObjectChange]) -> Vec<Object> {
    let mut left: Vec<Object> = Vec::new();
    for change in history {
        left.retain(|object| object.key() != key(change));
        if let ObjectChange::Upsert(object) = change {
            left.push(object.clone());
        }
    }
    left
}

fn assert_same(one: &Registry, other: &Registry) {
    assert_eq!(versions(&one.snapshot()), versions(&other.snapshot()));
    assert_eq!(one.snapshot(), other.snapshot());
    assert_eq!(shown(one.problems()), shown(other.problems()));
    assert_eq!(one.policies(), other.policies());
}

proptest! {
    #[test]
    fn one_by_one_is_all_at_once_is_what_is_left((history, shuffled) in history().prop_flat_map(|history| {
        let left: Vec<_> = survivors(&history).into_iter().map(ObjectChange::Upsert).collect();
        (Just(history), Just(left).prop_shuffle())
    })) {
        let mut one_by_one = Registry::default();
        for change in history.clone() {
            one_by_one.apply(vec![change]);
        }
        let mut at_once = Registry::default();
        at_once.apply(history);
        let mut left = Registry::default();
        left.apply(shuffled);
        assert_same(&one_by_one, &at_once);
        assert_same(&one_by_one, &left);
    }

    #[test]
    fn changed_names_are_exactly_those_that_differ(history in history()) {
        let mut registry = Registry::default();
        for change in history {
            let before = registry.snapshot();
            let changed = registry.apply(vec![change]);
            let after = registry.snapshot();
            let differ = before.differences(&after, Arc::ptr_eq).map(|(name, _, _)| name.clone());
            prop_assert_eq!(changed, differ.collect());
        }
    }

    #[test]
    fn an_address_has_one_owner(history in history()) {
        let mut registry = Registry::default();
        registry.apply(history);
        let snapshot = registry.snapshot();
        let mut vips: Vec<_> = snapshot.iter().flat_map(|(_, service)| service.spec.value.vips().to_vec()).collect();
        vips.sort();
        let claimed = vips.len();
        vips.dedup();
        prop_assert_eq!(vips.len(), claimed);
    }
}

#[test]
fn what_does_not_change_keeps_its_place_in_memory() {
    let mut registry = registry(&manifest("tutorial.yaml"));
    let before = registry.snapshot();
    assert!(registry.apply(upserts(&manifest("tutorial.yaml"))).is_empty());
    let after = registry.snapshot();
    assert_eq!(before.differences(&after, Arc::ptr_eq).count(), 0);

    let scaled = manifest("tutorial.yaml").replace("127.0.2.16", "127.0.2.17");
    let changed: Vec<_> = registry.apply(upserts(&scaled)).into_iter().collect();
    assert_eq!(changed.iter().map(ServiceName::as_str).collect::<Vec<_>>(), ["default/podinfo"]);
    let name = "default/clusterip-service";
    assert!(Arc::ptr_eq(&find(&before, name).unwrap(), &find(&registry.snapshot(), name).unwrap()));
}

#[test]
fn deleting_what_never_was_is_nothing() {
    let mut registry = Registry::default();
    assert!(registry.apply(common::deletes(&manifest("behaviours.yaml"))).is_empty());
}

//! Whatever a pod looks like: nothing of it is changed, and injection happens once.
#![allow(clippy::unwrap_used, reason = "a test says what it expects by failing")]

mod common;

use common::settings;
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};
use wasmesh_injection::{Decision, Facts, PodSecurity, inject};

proptest! {
    #[test]
    fn what_comes_out_is_what_went_in_and_ours(pod in pods(), facts in facts()) {
        if let Decision::Inject(injection) = inject(&pod, &facts, &settings()) {
            prop_assert_eq!(without_ours(injection.pod), normal(pod));
        }
    }

    #[test]
    fn the_patch_makes_the_pod(pod in pods(), facts in facts()) {
        if let Decision::Inject(injection) = inject(&pod, &facts, &settings()) {
            let patch = serde_json::to_value(&injection.patch).unwrap();
            prop_assert_eq!(apply(pod, &patch), injection.pod);
        }
    }

    #[test]
    fn a_second_time_changes_nothing(pod in pods(), facts in facts()) {
        if let Decision::Inject(injection) = inject(&pod, &facts, &settings()) {
            let again = inject(&injection.pod, &facts, &settings());
            prop_assert!(matches!(again, Decision::Leave(..)), "{:?}", again);
        }
    }

    #[test]
    fn any_json_gets_an_answer(pod in anything(), facts in facts()) {
        let _ = inject(&pod, &facts, &settings());
    }
}

fn facts() -> impl Strategy<Value = Facts> {
    let security = prop_oneof![
        Just(PodSecurity::Allows),
        Just(PodSecurity::Unknown),
        Just(PodSecurity::Forbids("restricted".to_owned())),
    ];
    (any::<bool>(), security).prop_map(|(opted_in, pod_security)| Facts { opted_in, pod_security })
}

fn pods() -> impl Strategy<Value = Value> {
    let annotations = option::of(vec((annotation_name(), "[a-z0-9.,:/ ]{0,12}"), 0..3));
    let labels = option::of(prop_oneof!["enabled", "disabled", "other"]);
    (
        annotations,
        labels,
        option::of(vec(container(), 0..3)),
        vec(container(), 0..3),
        option::of(vec(volume(), 0..3)),
        any::<bool>(),
    )
        .prop_map(|(annotations, inject, init, containers, volumes, later)| {
            let mut pod = json!({ "metadata": {}, "spec": { "containers": containers } });
            if let Some(annotations) = annotations {
                pod["metadata"]["annotations"] =
                    annotations.into_iter().map(|(name, value)| (name, json!(value))).collect();
            }
            if let Some(inject) = inject {
                pod["metadata"]["labels"] = json!({ "wasmesh.io/inject": inject });
            }
            if let Some(init) = init {
                pod["spec"]["initContainers"] = json!(init);
            }
            if let Some(volumes) = volumes {
                pod["spec"]["volumes"] = json!(volumes);
            }
            if later {
                pod["spec"]["fieldOfALaterKubernetes"] = json!({ "a": [1] });
            }
            pod
        })
}

fn annotation_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("wasmesh.io/injected".to_owned()),
        Just("wasmesh.io/exclude-outbound-ports".to_owned()),
        Just("wasmesh.io/include-outbound-cidrs".to_owned()),
        Just("wasmesh.io/proxy-cpu-limit".to_owned()),
        Just("wasmesh.io/capture-memory-request".to_owned()),
        "[a-z]{1,5}(/[a-z~]{1,5})?",
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let name =
        prop_oneof![4 => "[a-z]{1,6}", 1 => Just("wasmesh-proxy".to_owned()), 1 => Just("istio-proxy".to_owned())];
    (name, option::of(prop_oneof![Just(0), Just(1000), Just(19000)])).prop_map(|(name, user)| match user {
        Some(user) => json!({ "name": name, "securityContext": { "runAsUser": user } }),
        None => json!({ "name": name }),
    })
}

fn volume() -> impl Strategy<Value = Value> {
    prop_oneof![4 => "[a-z]{1,6}", 1 => Just("wasmesh-run".to_owned())].prop_map(|name| json!({ "name": name }))
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,5}".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 64, 5, |inner| {
        let name = prop_oneof![
            "metadata",
            "spec",
            "annotations",
            "labels",
            "containers",
            "initContainers",
            "volumes",
            "name",
            "ports"
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((name, inner), 0..5).prop_map(|members| members.into_iter().collect())
        ]
    })
}

/// Takes away everything that carries the mesh's name, and lists and objects that are empty.
fn without_ours(mut pod: Value) -> Value {
    if let Some(annotations) = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("wasmesh.io/injected");
    }
    for path in ["/spec/initContainers", "/spec/volumes"] {
        if let Some(list) = pod.pointer_mut(path).and_then(Value::as_array_mut) {
            list.retain(|item| !item["name"].as_str().is_some_and(|name| name.starts_with("wasmesh-")));
        }
    }
    normal(pod)
}

fn normal(mut pod: Value) -> Value {
    if let Some(annotations) = pod.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove("wasmesh.io/injected");
    }
    for (parent, name) in [("/metadata", "annotations"), ("/spec", "initContainers"), ("/spec", "volumes")] {
        let parent = pod.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if parent.get(name).is_some_and(|there| there == &json!([]) || there == &json!({})) {
            parent.remove(name);
        }
    }
    pod
}

/// As the API server does it, for the one operation that is used.
fn apply(mut pod: Value, patch: &Value) -> Value {
    for operation in patch.as_array().unwrap() {
        assert_eq!(operation["op"], "add");
        let (parent, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        match pod.pointer_mut(parent).unwrap() {
            Value::Array(list) if name == "-" => list.push(operation["value"].clone()),
            Value::Array(list) => list.insert(name.parse().unwrap(), operation["value"].clone()),
            Value::Object(members) => drop(members.insert(name, operation["value"].clone())),
            other => panic!("{other}"),
        }
    }
    pod
}

//! Which endpoints count.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use wasmesh_tests::until;

use super::Run;
use crate::{
    backends::TELLER,
    manifests::{annotated, port, ready, slice},
    pod::Pod,
};

fn endpoint(run: &Run<'_>, pod: &Pod, conditions: Value) -> Value {
    json!({ "addresses": [run.ip(pod)], "conditions": conditions })
}

pub(super) fn row_13_published_not_ready(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    // What the controller writes for a pod that is not ready: ready all the same, but not serving.
    let published = json!({ "ready": true, "serving": false, "terminating": false });
    let not = json!({ "ready": false, "serving": false });
    let slice = run.slice("a", &[endpoint(run, one, published), endpoint(run, two, not)]);
    run.apply(&[run.service(json!({ "publishNotReadyAddresses": true })), slice]);
    run.client().assert_reaches(run.address(), &[one], "the one that the slice calls ready");
}

pub(super) fn row_17_only_the_label_links(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let mut stray = slice("stray", "a", run.family, &[port("tcp", TELLER)], &[ready(run.ip(two))]);
    stray["metadata"]["name"] = format!("{}-by-name-only", run.name).into();
    stray["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Service", "name": run.name, "uid": "1" }]);
    run.apply(&[run.service(json!({})), stray.clone()]);
    run.client().assert_refused(run.address());
    run.apply(&[run.service(json!({})), stray, run.slice_of("by-hand", &[one])]);
    until("it is reached", || run.client().dial(run.address()).is_ok());
    run.client().assert_reaches(run.address(), &[one], "the slice with the label");
}

pub(super) fn row_18_legacy_endpoints(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let legacy = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": { "name": run.name, "namespace": "shop" },
        "subsets": [{ "addresses": [{ "ip": run.ip(two) }], "ports": [port("tcp", TELLER)] }],
    });
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one]), legacy.clone()]);
    run.client().assert_reaches(run.address(), &[one], "slices");
    run.apply(&[run.service(json!({})), legacy]);
    run.client().assert_refused(run.address());
}

pub(super) fn row_24_absent_conditions(run: &Run<'_>) {
    let [one, two, three] = run.backends();
    run.apply(&[
        run.service(json!({})),
        run.slice(
            "a",
            &[
                json!({ "addresses": [run.ip(one)] }),
                endpoint(run, two, json!({ "ready": null, "serving": null, "terminating": null })),
                endpoint(run, three, json!({ "ready": false })),
            ],
        ),
    ]);
    run.client().assert_reaches(run.address(), &[one, two], "absent is ready");
    // With none ready it shows that absent is serving, and not terminating.
    run.apply(&[
        run.service(json!({})),
        run.slice(
            "a",
            &[
                endpoint(run, one, json!({ "ready": false, "terminating": true })),
                endpoint(run, two, json!({ "ready": false })),
            ],
        ),
    ]);
    run.client().assert_reaches(run.address(), &[one], "serving is absent; and terminating");
}

pub(super) fn row_25_draining(run: &Run<'_>) {
    let [one, two, three] = run.backends();
    let drains = |pod, serving| endpoint(run, pod, json!({ "ready": false, "serving": serving, "terminating": true }));
    let apply = |endpoints: &[Value]| run.apply(&[run.service(json!({})), run.slice("a", endpoints)]);
    apply(&[ready(run.ip(one))]);
    // The only replica is rolled: at no moment is there nobody.
    run.watched(&[run.address()], &[one, three], || {
        apply(&[drains(one, true), drains(two, false)]);
        run.client().assert_reaches(run.address(), &[one], "only one that drains and still serves");
        apply(&[drains(one, true), ready(run.ip(three))]);
        run.client().assert_reaches(run.address(), &[three], "one is ready again");
        apply(&[ready(run.ip(three))]);
    });
}

pub(super) fn row_26_twice(run: &Run<'_>) {
    let [one, two, _] = run.backends();
    let in_turns = || annotated(run.service(json!({})), "wasmesh.io/policy", "round-robin");
    let not_ready = endpoint(run, one, json!({ "ready": false }));
    run.apply(&[in_turns(), run.slice_of("a", &[one, two]), run.slice_of("b", &[one]), run.slice("c", &[not_ready])]);
    let tally = run.client().tally(run.address(), 20);
    assert!(tally.values().all(|count| *count == 10) && tally.len() == 2, "one has been counted twice: {tally:?}");
    // A move is written to the new slice first.
    run.watched(&[run.address()], &[one, two], || {
        for parts in [["a", "d"], ["d", "a"], ["a", "d"]] {
            run.apply(&[in_turns(), run.slice_of(parts[0], &[one, two]), run.slice_of(parts[1], &[one, two])]);
            run.client().assert_reaches(run.address(), &[one, two], "while it moves");
            run.apply(&[in_turns(), run.slice_of(parts[1], &[one, two])]);
            run.client().assert_reaches(run.address(), &[one, two], "after it has moved");
        }
    });
}

pub(super) fn row_27_many(run: &Run<'_>) {
    let addresses: Vec<_> = (1..=250).map(|at| run.cluster.nodes[1].of_range(run.family, at)).collect();
    let endpoints: Vec<_> = addresses.iter().map(|ip| ready(*ip)).collect();
    let mut objects = vec![annotated(run.service(json!({})), "wasmesh.io/policy", "round-robin")];
    objects.extend(endpoints.chunks(100).enumerate().map(|(at, part)| run.slice(&at.to_string(), part)));
    run.apply(&objects);
    let hit: BTreeSet<_> = (0..250).map(|_| run.client().told(run.address()).local.ip()).collect();
    assert_eq!(hit, addresses.into_iter().collect(), "not each of 250 endpoints is hit in its turn");
}

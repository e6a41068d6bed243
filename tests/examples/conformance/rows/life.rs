//! What changes while connections are open.

use serde_json::json;
use wasmesh_tests::until;

use super::Run;
use crate::{
    backends::TELLER,
    manifests::{port, ready, service, slice},
};

/// How often addresses change hands.
const SWAPS: usize = 10;

pub(super) fn row_28_deleted(run: &Run<'_>) {
    let [one, _, three] = run.backends();
    run.lead(run.address(), three);
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    let mut stay = run.client().stay(run.address(), one);
    run.apply(&[]);
    stay.assert_lives("after its Service was deleted");
    run.client().assert_reaches(run.address(), &[three], "a new connection falls through");
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    run.client().assert_reaches(run.address(), &[one], "the Service is back");
    stay.assert_lives("after its Service came back");
}

pub(super) fn row_29_swapped(run: &Run<'_>) {
    let [one, two, three] = run.backends();
    let vips = [run.vip(1), run.vip(2)];
    vips.iter().for_each(|vip| run.lead((*vip, 80), three));
    let owns = |name: &str, at: usize, pod| {
        [
            service(name, json!({ "clusterIPs": [vips[at]], "ports": [port("tcp", 80)] })),
            slice(name, "a", run.family, &[port("tcp", TELLER)], &[ready(run.ip(pod))]),
        ]
    };
    let put = |swapped: bool| {
        let (x, y) = (usize::from(swapped), usize::from(!swapped));
        run.apply(&[owns("row-29-x", x, one), owns("row-29-y", y, two)].concat());
    };
    put(false);
    run.watched(&vips.map(|vip| (vip, 80).into()), &[one, two], || {
        for swap in 1..=SWAPS {
            put(swap % 2 == 1);
            let expected = if swap % 2 == 1 { ["two", "one"] } else { ["one", "two"] };
            for (vip, who) in vips.into_iter().zip(expected) {
                assert_eq!(run.client().who((vip, 80)), who, "{vip} after {swap} swaps");
            }
        }
    });
}

pub(super) fn row_40_capture_goes_and_comes(run: &Run<'_>) {
    let [one, _, three] = run.backends();
    // The second client's: the first one's sidecar is not disturbed.
    let client = &run.cluster.clients[1];
    run.lead(run.address(), three);
    run.apply(&[run.service(json!({})), run.slice_of("a", &[one])]);
    let mut captured = client.stay(run.address(), one);
    for _ in 0..3 {
        run.cluster.drain();
        captured.assert_lives("after capture was drained");
        client.assert_reaches(run.address(), &[three], "past the sidecar");
        let mut direct = client.stay(run.address(), three);
        run.cluster.capture_again();
        until("new connections are captured", || client.who(run.address()) == "one");
        captured.assert_lives("after capture came back");
        direct.assert_lives("that was opened past the sidecar, after capture came back");
    }
}

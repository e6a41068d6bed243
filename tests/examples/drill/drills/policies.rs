//! Users' policies that fail while they serve.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wasmesh_tests::{Policy, built, sha256, until};

use crate::ground::Ground;

/// How long one may go on.
const WHILE: Duration = Duration::from_secs(3);

/// So often it behaves: a little more than it is tried out before it serves.
const BEHAVES: u32 = 1_100;

pub(crate) fn spinning(ground: &mut Ground<'_>, fault: &mut Instant) {
    failing(ground, fault, "hostile/spin.wasm", json!({ "after": BEHAVES }));
}

pub(crate) fn trapping(ground: &mut Ground<'_>, fault: &mut Instant) {
    failing(ground, fault, "hostile/trap.wasm", json!({ "every": BEHAVES }));
}

/// One that fails whenever it is asked takes over from one that is well, and gives way to it again.
fn failing(ground: &mut Ground<'_>, fault: &mut Instant, module: &str, config: Value) {
    serve(ground, "rust/round-robin.wasm");
    ground.apply(&Policy::wasm("drilled", module).config(config));
    until("it has failed", || faults(ground) > 0.0);
    ground.pass(WHILE);
    *fault = Instant::now();
    serve(ground, "rust/least-request.wasm");
}

/// It cannot be used at all: the one before goes on.
pub(crate) fn refused(ground: &mut Ground<'_>, fault: &mut Instant) {
    serve(ground, "rust/round-robin.wasm");
    *fault = Instant::now();
    for module in ["hostile/foreign-import.wasm", "hostile/no-export.wasm", "hostile/other-version.wasm"] {
        ground.apply(&Policy::wasm("drilled", module));
        ground.pass(Duration::from_secs(1));
    }
    serve(ground, "rust/least-request.wasm");
}

/// Five versions, each after the other.
pub(crate) fn replaced(ground: &mut Ground<'_>, fault: &mut Instant) {
    for module in ["round-robin", "least-request", "ring-hash", "bounded-load-hash", "round-robin"] {
        *fault = Instant::now();
        serve(ground, &format!("rust/{module}.wasm"));
        ground.answers(200);
    }
}

/// Applies it and waits until it chooses.
pub(super) fn serve(ground: &Ground<'_>, module: &str) {
    let before = picks(ground);
    ground.apply(&Policy::wasm("drilled", module));
    until("the policy serves", || {
        let page = ground.proxy.admin().json("/debug/policies");
        let states = page["policies"].as_array().cloned().unwrap_or_default();
        let digest = sha256(&built(module));
        let is_it = |state: &Value| state["module"] == digest.as_str() && state["phase"] == "programmed";
        states.iter().any(is_it) && picks(ground) > before
    });
}

fn picks(ground: &Ground<'_>) -> f64 {
    ground.proxy.admin().metric("wasmesh_policy_picks_total", &[])
}

fn faults(ground: &Ground<'_>) -> f64 {
    ground.proxy.admin().metric("wasmesh_policy_faults_total", &[])
}

//! What has become of policies: their conditions, and what the proxies make of them.

use serde_json::{Value, json};
use wasmesh_core::policy::{PortPolicy, TrialMode, WasmProgram};

use crate::{
    policies::reports::{Summary, summarize},
    server::StreamStatus,
    translate::policy::{PolicyStatus, Serving},
};

/// `/debug/policies`.
pub(super) fn page(statuses: &[PolicyStatus], proxies: &[StreamStatus]) -> Value {
    let summaries = summarize(statuses, proxies.iter().map(StreamStatus::reporter));
    let policies =
        statuses.iter().zip(summaries).map(|(status, (proxies, on_trial))| policy(status, &proxies, &on_trial));
    json!({ "policies": policies.collect::<Vec<_>>() })
}

fn policy(status: &PolicyStatus, proxies: &Summary, on_trial: &Summary) -> Value {
    let trial = status.serving.as_ref().and_then(|serving| serving.trial.as_ref());
    json!({
        "policy": format!("{}/{}", status.object.namespace, status.object.name),
        "generation": status.generation,
        "accepted": status.accepted,
        "resolved_refs": status.resolved_refs,
        "targets": status.targets,
        "serving": status.serving.as_ref().map(serving),
        "proxies": proxies,
        "candidate": trial.map(|trial| json!({
            "condition": status.candidate,
            "mode": match trial.mode { TrialMode::Shadow => "Shadow", TrialMode::Serve => "Serve" },
            "percent": trial.percent,
            "abort_on_faults": trial.abort_on_faults,
            "program": program(&trial.program),
            "proxies": on_trial,
        })),
    })
}

fn serving(serving: &Serving) -> Value {
    let Serving { policy, trial: _, is_earlier } = serving;
    match policy {
        PortPolicy::Builtin(builtin) => json!({ "type": builtin.kind(), "is_earlier": is_earlier, "program": null }),
        PortPolicy::Wasm(wasm) => json!({
            "type": "Wasm",
            "is_earlier": is_earlier,
            "program": program(&wasm.program),
            "fallback": wasm.fallback.kind(),
        }),
    }
}

fn program(program: &WasmProgram) -> Value {
    let WasmProgram { module, config, fuel, memory_mib } = program;
    json!({ "module": module.to_string(), "config": config, "fuel": fuel, "memory_mib": memory_mib })
}

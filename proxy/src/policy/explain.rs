//! A pick of the past in words.

use serde_json::{Value, json};
use wasmesh_core::{endpoint::EndpointId, policy::Candidate};
use wasmesh_policy_host::{Plan, Request};

use super::{
    past::{Past, Said, Went},
    record::Role,
};

/// What the picks of a cell are to be understood by.
pub(super) struct Context<'a> {
    /// Who can be chosen now.
    pub(super) candidates: &'a [Candidate],
    /// The plan of the policy that serves.
    pub(super) serving: &'a Plan,
    /// The plan of the one on trial.
    pub(super) trial: Option<&'a Plan>,
    /// Now.
    pub(super) now_us: u64,
}

/// Who would be chosen instead.
pub(super) struct RunnerUp {
    /// By index of the candidates.
    pub(super) index: usize,
    /// Why.
    pub(super) reason: u32,
}

/// A pick as the admin page has it.
pub(super) fn explained(past: &Past, runner_up: Option<RunnerUp>, context: &Context<'_>) -> Value {
    let plan = match past.said {
        Said::Endpoint { role: Role::Trial, .. } => context.trial,
        _ => Some(context.serving),
    };
    let reason = |reason: u32| plan.and_then(|plan| plan.reason(reason));
    let (by, why, chosen, alternate) = match past.said {
        Said::Endpoint { role, chosen, alternate, reason: why } => {
            let by = if role == Role::Serving { "policy" } else { "candidate" };
            (by, reason(why).unwrap_or("no reason given").to_owned(), Some(chosen), alternate)
        }
        Said::Fallback => ("built-in", "the policy has left it to the built-in one".to_owned(), None, None),
        Said::Reject(status) => ("policy", format!("reject with {status}"), None, None),
        Said::Hold(ms) => ("policy", format!("hold for {ms} ms"), None, None),
        Said::NotYet => ("built-in", "the policy was not there yet".to_owned(), None, None),
        Said::Failed => ("built-in", "the policy has failed".to_owned(), None, None),
        Said::Session => ("session", "the session stays where it is".to_owned(), None, None),
        Said::Onward => ("policy", "the alternate of the choice before".to_owned(), None, None),
    };
    let is_overridden = chosen.is_some() && past.went.map(|went| went.id) != chosen;
    json!({
        "ago_ms": context.now_us.saturating_sub(past.at_us) / 1_000,
        "by": if is_overridden { "built-in" } else { by },
        "why": if is_overridden { format!("the policy's choice, {}, takes no traffic now", name(chosen, context)) } else { why },
        "attempt": past.request.map(|request| request.attempt),
        "keys": past.request.zip(plan).map(|(request, plan)| keys(&request, plan)),
        "avoid": past.avoid.map(|id| name(Some(id), context)),
        "endpoint": past.went.map(endpoint),
        "chosen": chosen.map(|id| name(Some(id), context)),
        "alternate": alternate.map(|id| name(Some(id), context)),
        "runner_up": runner_up.and_then(|runner_up| {
            let candidate = context.candidates.get(runner_up.index)?;
            Some(json!({
                "address": candidate.endpoint.address,
                "reason": reason(runner_up.reason),
                "in_flight": candidate.load.in_flight(),
                "latency_us": candidate.load.latency_us(context.now_us).round(),
                "failure_rate": candidate.load.health().failure_rate(),
            }))
        }),
    })
}

fn endpoint(went: Went) -> Value {
    let Went { address, in_flight, latency_us, failure_rate, .. } = went;
    json!({ "address": address, "in_flight": in_flight, "latency_us": latency_us, "failure_rate": failure_rate })
}

/// The address of an endpoint, if it is still there.
fn name(id: Option<EndpointId>, context: &Context<'_>) -> String {
    let found = context.candidates.iter().find(|candidate| Some(candidate.endpoint.id) == id);
    found.map_or_else(|| "one that is gone".to_owned(), |candidate| candidate.endpoint.address.to_string())
}

/// Hashes by word, as hexadecimal numbers: JSON's readers are not sure of 64 bits.
fn keys(request: &Request, plan: &Plan) -> Value {
    let keys = plan.keys.iter().enumerate().map(|(at, word)| {
        let is_there = request.keys.present & 1 << at != 0;
        (word.to_string(), json!(is_there.then(|| format!("{:016x}", request.keys.hashes[at]))))
    });
    Value::Object(keys.collect())
}

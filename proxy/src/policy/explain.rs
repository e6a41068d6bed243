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
    let role = match past.said {
        Said::Endpoint { role, .. } | Said::Fallback(role) | Said::Reject(role, _) | Said::Hold(role, _) => role,
        _ => Role::Serving,
    };
    let (plan, program) = match role {
        Role::Serving => (Some(context.serving), "policy"),
        Role::Trial => (context.trial, "candidate"),
    };
    let reason = |reason: u32| plan.and_then(|plan| plan.reason(reason));
    // Who has the last word where the policy's does not hold.
    let (other, has_gone) = if past.went.is_some() { ("built-in", true) } else { ("nobody", false) };
    let (mut chosen, mut alternate) = (None, None);
    let (by, why) = match past.said {
        Said::Endpoint { chosen: id, alternate: next, reason: why, .. } => {
            (chosen, alternate) = (Some(id), next);
            if past.went.is_some_and(|went| went.id == id) {
                (program, reason(why).unwrap_or("no reason given").to_owned())
            } else {
                (
                    other,
                    format!(
                        "the {program}'s choice, {}, takes no traffic now, or has just failed this request",
                        name(id, context)
                    ),
                )
            }
        }
        Said::Fallback(_) => (other, format!("the {program} has left it to the built-in one")),
        Said::Reject(_, status) if has_gone => {
            (other, format!("the {program} wants to reject it with {status}, which cannot be done"))
        }
        Said::Reject(_, status) => (program, format!("reject with {status}")),
        Said::Hold(_, ms) if has_gone => {
            (other, format!("the {program} wants to hold it for {ms} ms, which cannot be done, or no longer"))
        }
        Said::Hold(_, ms) => (program, format!("hold for {ms} ms")),
        Said::NotYet => (other, "the policy is not there yet".to_owned()),
        Said::Failed => (other, "the policy has failed when it was asked".to_owned()),
        Said::LeftAlone => (other, "the policy has failed too often, and is left alone for a while".to_owned()),
        Said::Session => ("session", "the session stays where it is".to_owned()),
        Said::Onward => {
            ("onward", "no other choice: the alternate of the one before, or the same once more".to_owned())
        }
    };
    json!({
        "ago_ms": context.now_us.saturating_sub(past.at_us) / 1_000,
        "by": by,
        "why": why,
        "attempt": past.request.map(|request| request.attempt),
        "keys": past.request.zip(plan).map(|(request, plan)| keys(&request, plan)),
        "avoid": past.avoid.map(|id| name(id, context)),
        "endpoint": past.went.map(endpoint),
        "chosen": chosen.map(|id| name(id, context)),
        "alternate": alternate.map(|id| name(id, context)),
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
fn name(id: EndpointId, context: &Context<'_>) -> String {
    let found = context.candidates.iter().find(|candidate| candidate.endpoint.id == id);
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

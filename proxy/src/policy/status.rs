//! What became of policies on this proxy, for the control plane and for people.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wasmesh_core::policy::ModuleDigest;
use wasmesh_proto::wire::{self, policy_state::Phase};

use super::{
    keeper::{Declared, Held, Next, NextState, Post, Ready},
    record::Role,
};
use crate::clock::now_us;

/// How policies stand in one world.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicyStatus {
    /// Which world the keeper has seen to.
    pub generation: u64,
    /// What became of its policies.
    pub report: wire::PolicyReport,
}

/// Everything there is to say.
pub(super) fn report(posts: &BTreeMap<Post, Held>) -> wire::PolicyReport {
    let states = posts.iter().flat_map(|(post, held)| {
        let present = held.present.as_ref().map(|ready| of_ready(post, ready));
        let next = held.next.as_ref().map(|next| of_next(post, next));
        present.into_iter().chain(next)
    });
    wire::PolicyReport { states: states.collect() }
}

fn of_ready(post: &Post, ready: &Ready) -> wire::PolicyState {
    let now = now_us();
    let (faults, last_fault) = ready.record.faults_by_reason();
    let (phase, reason) = if ready.record.is_aborted() {
        (Phase::Aborted, format!("the trial has ended because of its faults; the last: {last_fault}"))
    } else if !ready.record.is_usable(now) {
        (Phase::Quarantined, last_fault)
    } else if !ready.refused_list.is_empty() {
        (Phase::Rejected, format!("the built-in policy serves: {}", ready.refused_list))
    } else {
        (Phase::Programmed, String::new())
    };
    let counts = ready.record.counts();
    wire::PolicyState {
        phase: phase.into(),
        reason,
        faults: faults.into_iter().map(|(reason, count)| wire::Count { reason: reason.to_owned(), count }).collect(),
        picks: counts.picks,
        fallbacks: counts.fallbacks,
        compared: counts.compared,
        disagreed: counts.disagreed,
        ..of_declared(post, &ready.declared)
    }
}

fn of_next(post: &Post, next: &Next) -> wire::PolicyState {
    let (phase, reason) = match &next.state {
        NextState::Loading => (Phase::Loading, String::new()),
        NextState::Waiting(why, _) => (Phase::Loading, why.clone()),
        NextState::Rejected(why) => (Phase::Rejected, why.clone()),
    };
    wire::PolicyState { phase: phase.into(), reason, ..of_declared(post, &next.declared) }
}

fn of_declared(post: &Post, declared: &Declared) -> wire::PolicyState {
    wire::PolicyState {
        service: post.service.to_string(),
        port: post.port.clone(),
        policy: declared.policy.clone(),
        module: declared.program.module.0.to_vec(),
        trial: post.role == Role::Trial,
        ..wire::PolicyState::default()
    }
}

/// The debug page.
pub fn page(status: &PolicyStatus) -> Value {
    let states = status.report.states.iter().map(|state| {
        let faults: BTreeMap<&str, u64> =
            state.faults.iter().map(|fault| (fault.reason.as_str(), fault.count)).collect();
        let module = <[u8; 32]>::try_from(state.module.as_slice()).map(|digest| ModuleDigest(digest).to_string());
        json!({
            "service": state.service,
            "port": state.port,
            "policy": state.policy,
            "module": module.unwrap_or_default(),
            "trial": state.trial,
            "phase": state.phase().as_str_name().to_lowercase(),
            "reason": state.reason,
            "faults": faults,
            "picks": state.picks,
            "fallbacks": state.fallbacks,
            "compared": state.compared,
            "disagreed": state.disagreed,
        })
    });
    json!({ "world": status.generation, "policies": states.collect::<Vec<_>>() })
}

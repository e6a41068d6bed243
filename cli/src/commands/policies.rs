//! The policies of a control plane, as `wasmesh status` shows them: a table, and what is to be said below it.

use std::fmt::Write;

use crate::{
    pages::{Condition, OnProxies, Policy, Program, Target},
    table::Table,
};

/// All of them; nothing if there are none.
pub(super) fn policies(policies: &[Policy]) -> String {
    if policies.is_empty() {
        return String::new();
    }
    let mut table =
        Table::new(["POLICY", "TYPE", "MODULE", "GOVERNS", "STATE", "PROGRAMMED", "FAULTS", "FALLBACKS", "CANDIDATE"]);
    policies.iter().for_each(|policy| table.row(row(policy)));
    let mut text = format!("\n{table}");
    for policy in policies {
        for line in remarks(policy) {
            let _ = writeln!(text, "  {}: {line}", policy.policy);
        }
    }
    text
}

fn row(policy: &Policy) -> [String; 9] {
    let serving = policy.serving.as_ref();
    let program = serving.and_then(|serving| serving.program.as_ref());
    [
        policy.policy.clone(),
        serving.map(|serving| serving.kind.clone()).unwrap_or_default(),
        program.map(short).unwrap_or_default(),
        policy.targets.iter().flat_map(governed).collect::<Vec<_>>().join(","),
        state(policy).to_owned(),
        of_subscribed(&policy.proxies),
        faults(&policy.proxies),
        policy.proxies.fallbacks.to_string(),
        policy.candidate.as_ref().map(candidate).unwrap_or_default(),
    ]
}

/// `Accepted`, or why it is not. Below the table it says whether an earlier version of it goes on serving.
fn state(policy: &Policy) -> &str {
    match [&policy.accepted, &policy.resolved_refs].into_iter().find(|condition| !condition.status) {
        Some(condition) => &condition.reason,
        None => "Accepted",
    }
}

fn governed(target: &Target) -> impl Iterator<Item = String> {
    target.governs.iter().map(|port| format!("{}:{port}", target.service))
}

/// The first twelve digits of the digest.
fn short(program: &Program) -> String {
    program.module.chars().take(12).collect()
}

fn of_subscribed(proxies: &OnProxies) -> String {
    format!("{}/{}", proxies.programmed, proxies.subscribed)
}

/// `3:2_trap,1_fuel`: no blank, so that every row has as many words as the head has.
fn faults(proxies: &OnProxies) -> String {
    let sum: u64 = proxies.faults.values().sum();
    let by_reason: Vec<_> = proxies.faults.iter().map(|(reason, count)| format!("{count}_{reason}")).collect();
    if sum == 0 { "0".to_owned() } else { format!("{sum}:{}", by_reason.join(",").replace(' ', "_")) }
}

/// `Serve:5%:0123456789ab:2/40`, or what has ended it.
fn candidate(candidate: &crate::pages::Candidate) -> String {
    if !candidate.condition.status {
        return candidate.condition.reason.clone();
    }
    let place = format!("{}:{}%:{}", candidate.mode, candidate.percent, short(&candidate.program));
    format!("{place}:{}", of_subscribed(&candidate.proxies))
}

/// What does not fit into a row, one line each.
fn remarks(policy: &Policy) -> Vec<String> {
    let said = |condition: &Condition| {
        (!condition.message.is_empty()).then(|| format!("{}: {}", condition.reason, condition.message))
    };
    let mut remarks: Vec<_> = [&policy.accepted, &policy.resolved_refs].into_iter().filter_map(said).collect();
    remarks.extend(policy.proxies.troubles.iter().map(crate::pages::Trouble::to_string));
    if let Some(candidate) = &policy.candidate {
        let OnProxies { troubles, compared, disagreed, .. } = &candidate.proxies;
        remarks.extend(said(&candidate.condition).map(|text| format!("candidate {text}")));
        remarks.extend(troubles.iter().map(|trouble| format!("candidate {trouble}")));
        if candidate.condition.status && !candidate.proxies.faults.is_empty() {
            remarks.push(format!("candidate faults {}", faults(&candidate.proxies)));
        }
        if *compared > 0 {
            remarks.push(format!("candidate disagreed in {disagreed} of {compared} picks"));
        }
    }
    remarks
}

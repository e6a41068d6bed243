//! What is to be written of a policy, from what is known of it. Pure; the time is passed in.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::counts::{Counts, hash_of};
use crate::translate::policy::{
    PolicyStatus, TargetStatus,
    ancestors::{AbortedCandidate, AncestorRef, AncestorStatus, ObjectStatus},
    condition::Condition as Finding,
};

/// Who we are in a status.
pub const CONTROLLER: &str = "wasmesh.io/control-plane";

/// As many as Gateway API allows; the object cannot name more targets.
const MAX_ANCESTORS: usize = 16;
/// The API server allows 32768; nobody reads that much.
const MAX_MESSAGE_CHARS: usize = 1024;

/// What is to be written of a policy, of which all proxies together make this, where `before` is written now. What other
/// controllers have written stays.
pub fn object_status(
    status: &PolicyStatus,
    before: Option<&ObjectStatus>,
    counts: &Counts,
    now: &Time,
) -> ObjectStatus {
    let mut ancestors: Vec<_> = before
        .into_iter()
        .flat_map(|before| before.ancestors.iter().filter(|ancestor| ancestor.controller_name != CONTROLLER))
        .cloned()
        .collect();
    for target in &status.targets {
        let ancestor_ref = reference(status, target);
        let known = before.and_then(|before| {
            let mine = |it: &&AncestorStatus| it.controller_name == CONTROLLER && it.ancestor_ref == ancestor_ref;
            before.ancestors.iter().find(mine)
        });
        let conditions = findings(status, target, counts)
            .into_iter()
            .map(|(type_, finding)| condition(type_, &finding, status.generation, known, now))
            .collect();
        ancestors.push(AncestorStatus { ancestor_ref, controller_name: CONTROLLER.to_owned(), conditions });
    }
    ancestors.truncate(MAX_ANCESTORS);
    let serves = status.serving.is_some();
    ObjectStatus {
        proxies: serves.then(|| format!("{}/{}", counts.programmed, counts.subscribed)),
        aborted_candidate: aborted(status, counts, before),
        ancestors,
    }
}

/// The candidate that stays or becomes taken back. As long as nothing of the object is in effect, or not all of it, since modules cannot
/// be had perhaps, it is not known which candidate it declares: what was taken back stays so.
fn aborted(status: &PolicyStatus, counts: &Counts, before: Option<&ObjectStatus>) -> Option<AbortedCandidate> {
    let known = before.and_then(|before| before.aborted_candidate.clone());
    let Some(serving) = &status.serving else { return known };
    let is_whole = !serving.is_earlier && status.resolved_refs.status;
    let trial = serving.trial.as_ref();
    let is_on_trial = |candidate: &AbortedCandidate| trial.is_some_and(|trial| hash_of(trial) == candidate.hash);
    let has_failed = |candidate: &AbortedCandidate| {
        let limit = trial.and_then(|trial| trial.abort_on_faults);
        limit.is_some_and(|limit| candidate.faults.values().sum::<u64>() >= limit.into())
    };
    known
        .filter(|known| !is_whole || is_on_trial(known))
        .or_else(|| counts.candidate.clone().filter(|candidate| is_on_trial(candidate) && has_failed(candidate)))
}

fn reference(status: &PolicyStatus, target: &TargetStatus) -> AncestorRef {
    AncestorRef {
        group: String::new(),
        kind: "Service".to_owned(),
        namespace: Some(status.object.namespace.clone()),
        name: target.service.clone(),
        section_name: target.port.clone(),
    }
}

/// What is found of a policy at one target.
struct Said {
    status: bool,
    reason: &'static str,
    message: String,
}

fn findings(status: &PolicyStatus, target: &TargetStatus, counts: &Counts) -> Vec<(&'static str, Said)> {
    // What is wrong with the object is wrong everywhere; what is wrong with one target is not.
    let accepted = status.invalid.as_ref().unwrap_or(&target.accepted);
    let mut findings = vec![
        ("Accepted", Said::of(accepted)),
        ("ResolvedRefs", Said::of(&status.resolved_refs)),
        ("Programmed", programmed(status, target, counts)),
    ];
    findings.extend(status.candidate.as_ref().map(|candidate| ("Candidate", Said::of(candidate))));
    findings
}

fn programmed(status: &PolicyStatus, target: &TargetStatus, counts: &Counts) -> Said {
    let said = |status, reason, message: String| Said { status, reason, message };
    let Some(serving) = &status.serving else {
        return said(false, "NotServed", "no version of the policy can be served".to_owned());
    };
    if target.governs.is_empty() {
        return said(false, "NotServed", "the policy governs nothing of this target".to_owned());
    }
    let Counts { subscribed, programmed, troubles, .. } = counts;
    let on = match subscribed {
        0 => "no proxy uses the target at the moment".to_owned(),
        all => format!("decides on {programmed} of {all} proxies"),
    };
    if serving.is_earlier {
        return said(false, "EarlierVersion", format!("an earlier version of the object is served, it {on}"));
    }
    if !troubles.is_empty() {
        let troubles = troubles.iter().map(|trouble| {
            format!("{} on {} ({}): {}", trouble.phase, trouble.count, trouble.proxies.join(", "), trouble.reason)
        });
        return said(false, "Trouble", format!("{on}; {}", troubles.collect::<Vec<_>>().join("; ")));
    }
    match programmed >= subscribed {
        true => said(true, "Programmed", on),
        false => said(false, "Pending", on),
    }
}

impl Said {
    fn of(finding: &Finding) -> Self {
        Self { status: finding.status, reason: finding.reason.as_str(), message: finding.message.clone() }
    }
}

/// A condition as it is written. Since when it is so stays as it is for as long as it is so.
fn condition(
    type_: &str,
    said: &Said,
    generation: Option<i64>,
    known: Option<&AncestorStatus>,
    now: &Time,
) -> Condition {
    let status = if said.status { "True" } else { "False" };
    let known = known.and_then(|known| known.conditions.iter().find(|condition| condition.type_ == type_));
    let since = known.filter(|known| known.status == status).map(|known| known.last_transition_time.clone());
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: said.reason.to_owned(),
        message: said.message.chars().take(MAX_MESSAGE_CHARS).collect(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or_else(|| now.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::jiff::Timestamp;
    use wasmesh_core::policy::{BuiltinPolicy, ModuleDigest, Trial, TrialMode, WasmProgram};

    use super::*;
    use crate::{
        status::counts::TroubleCount,
        translate::{
            ObjectKey, ObjectKind,
            policy::{PortName, Serving, condition::Reason},
        },
    };

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    fn finding(status: bool, reason: Reason) -> Finding {
        Finding { status, reason, message: String::new() }
    }

    fn status() -> PolicyStatus {
        let target = TargetStatus {
            service: "web".to_owned(),
            port: None,
            accepted: finding(true, Reason::Accepted),
            governs: vec![PortName { name: "http".to_owned(), number: 80 }],
            lost: BTreeMap::new(),
        };
        PolicyStatus {
            object: ObjectKey {
                kind: ObjectKind::LoadBalancingPolicy,
                namespace: "shop".to_owned(),
                name: "own".to_owned(),
            },
            generation: Some(3),
            invalid: None,
            accepted: finding(true, Reason::Accepted),
            resolved_refs: finding(true, Reason::ResolvedRefs),
            serving: Some(Serving { policy: BuiltinPolicy::Random.into(), trial: None, is_earlier: false }),
            targets: vec![target],
            candidate: None,
            written: None,
        }
    }

    fn counts(subscribed: usize, programmed: usize) -> Counts {
        Counts { subscribed, programmed, ..Counts::default() }
    }

    /// Status and reason of the condition `Programmed`.
    fn programmed_of(status: &PolicyStatus, counts: &Counts) -> (String, String) {
        let written = object_status(status, None, counts, &at(1));
        let condition = written.ancestors[0].conditions.iter().find(|it| it.type_ == "Programmed").unwrap().clone();
        assert_eq!(condition.observed_generation, Some(3));
        (condition.status, condition.reason)
    }

    #[test]
    fn programmed_says_how_far_it_has_come() {
        let is = |status: &PolicyStatus, counts: &Counts, expected: (&str, &str)| {
            assert_eq!(programmed_of(status, counts), (expected.0.to_owned(), expected.1.to_owned()));
        };
        is(&status(), &counts(0, 0), ("True", "Programmed"));
        is(&status(), &counts(4, 4), ("True", "Programmed"));
        is(&status(), &counts(4, 3), ("False", "Pending"));
        let troubles = vec![TroubleCount { phase: "rejected".to_owned(), count: 1, ..TroubleCount::default() }];
        is(&status(), &Counts { troubles, ..counts(4, 3) }, ("False", "Trouble"));
        is(&PolicyStatus { serving: None, ..status() }, &counts(4, 0), ("False", "NotServed"));
        let mut earlier = status();
        earlier.serving.as_mut().unwrap().is_earlier = true;
        is(&earlier, &counts(4, 4), ("False", "EarlierVersion"));
        let mut conflicted = status();
        conflicted.targets[0].governs.clear();
        is(&conflicted, &counts(4, 0), ("False", "NotServed"));
    }

    #[test]
    fn what_stays_the_same_is_the_same_text() {
        let first = object_status(&status(), None, &counts(2, 2), &at(1));
        assert_eq!(object_status(&status(), Some(&first), &counts(2, 2), &at(100)), first);
        let later = object_status(&status(), Some(&first), &counts(3, 2), &at(100));
        let since: Vec<_> = later.ancestors[0].conditions.iter().map(|it| it.last_transition_time == at(1)).collect();
        assert_eq!(since, [true, true, false], "only Programmed has changed");
    }

    #[test]
    fn what_others_have_said_stays() {
        let foreign = AncestorStatus { controller_name: "example.com/other".to_owned(), ..AncestorStatus::default() };
        let written = ObjectStatus { ancestors: vec![foreign.clone()], ..ObjectStatus::default() };
        assert_eq!(object_status(&status(), Some(&written), &counts(0, 0), &at(1)).ancestors[0], foreign);
    }

    #[test]
    fn what_is_wrong_with_the_object_is_wrong_at_every_target() {
        let bad = |reason| finding(false, reason);
        let mut missing = status().targets[0].clone();
        missing.service = "gone".to_owned();
        missing.accepted = bad(Reason::TargetNotFound);
        let targets = vec![status().targets[0].clone(), missing];
        let reasons = |status: &PolicyStatus| -> Vec<_> {
            let written = object_status(status, None, &counts(0, 0), &at(1));
            written.ancestors.iter().map(|it| it.conditions[0].reason.clone()).collect()
        };
        let well = PolicyStatus { targets, ..status() };
        assert_eq!(reasons(&well), ["Accepted", "TargetNotFound"]);
        let invalid = Some(bad(Reason::Invalid));
        assert_eq!(reasons(&PolicyStatus { invalid, accepted: bad(Reason::Invalid), ..well }), ["Invalid", "Invalid"]);
    }

    fn trial() -> Trial {
        let program = WasmProgram { module: ModuleDigest([7; 32]), config: String::new(), fuel: 1, memory_mib: 1 };
        Trial { program, mode: TrialMode::Serve, percent: 100, abort_on_faults: Some(3) }
    }

    #[test]
    fn a_candidate_stays_taken_back_while_it_is_not_known_which_one_there_is() {
        let aborted = AbortedCandidate { hash: "abc".to_owned(), proxies: 2, ..AbortedCandidate::default() };
        let written = ObjectStatus { aborted_candidate: Some(aborted.clone()), ..ObjectStatus::default() };
        let aborted_of = |serving| {
            let status = PolicyStatus { serving, ..status() };
            object_status(&status, Some(&written), &counts(0, 0), &at(1)).aborted_candidate
        };
        assert_eq!(aborted_of(None), Some(aborted.clone()));
        assert_eq!(aborted_of(status().serving), None);
        let mut earlier = status().serving.unwrap();
        earlier.is_earlier = true;
        assert_eq!(aborted_of(Some(earlier.clone())), Some(aborted.clone()));
        earlier.trial = Some(trial());
        assert_eq!(aborted_of(Some(earlier)), Some(aborted.clone()), "its candidate is an earlier one too");
        let mut present = status().serving.unwrap();
        present.trial = Some(trial());
        assert_eq!(aborted_of(Some(present)), None, "another candidate is on trial now");
        let partial = PolicyStatus { resolved_refs: finding(false, Reason::Pending), ..status() };
        let written = object_status(&partial, Some(&written), &counts(0, 0), &at(1));
        assert_eq!(written.aborted_candidate, Some(aborted), "its module has not come");
    }
}

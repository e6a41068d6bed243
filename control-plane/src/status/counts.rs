//! What the proxies of replicas make of policies, as replicas tell each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use wasmesh_core::{name::ServiceName, policy::Trial};

use crate::{
    policies::{
        reports::{Summary, Trouble, summarize},
        trials::TrialCounts,
    },
    server::StreamStatus,
    translate::{
        ObjectKey,
        policy::{PolicyStatus, Serving, ancestors::AbortedCandidate},
    },
};

/// How many troubles of a policy are told.
const MAX_TROUBLES: usize = 3;
/// How many proxies are named with a trouble.
const MAX_NAMED: usize = 2;
/// How much is told of why nothing is in effect.
const MAX_REASON_CHARS: usize = 500;

/// What the proxies make of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Names what is in effect; what is counted of something else does not count. Empty where nothing is, though
    /// something may be at another replica.
    pub version: String,
    /// How many proxies use a Service that the policy governs.
    pub subscribed: usize,
    /// On how many of them it decides.
    pub programmed: usize,
    /// What is wrong on some of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<TroubleCount>,
    /// What the candidate has done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<AbortedCandidate>,
}

/// Something that is wrong on some proxies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TroubleCount {
    /// What has become of the policy there.
    pub phase: String,
    /// Why.
    pub reason: String,
    /// On how many proxies.
    pub count: usize,
    /// Some of them.
    pub proxies: Vec<String>,
}

/// The counts of one replica, by `namespace/name` of the policy.
pub type Report = BTreeMap<String, Counts>;

/// The name of a policy in a [`Report`].
pub fn name_of(object: &ObjectKey) -> String {
    format!("{}/{}", object.namespace, object.name)
}

/// What the proxies of this replica make of every policy.
pub fn report(
    statuses: &[PolicyStatus],
    proxies: &[StreamStatus],
    trials: &BTreeMap<ObjectKey, TrialCounts>,
) -> Report {
    let summaries = summarize(statuses, proxies.iter().map(StreamStatus::reporter));
    let mut users = None;
    let counts = statuses.iter().zip(summaries).filter_map(|(status, (summary, _))| {
        let counts = match &status.serving {
            Some(serving) => Some(served(serving, summary, trials.get(&status.object))),
            None => unserved(status, proxies, users.get_or_insert_with(|| users_of(proxies))),
        };
        counts.map(|counts| (name_of(&status.object), counts))
    });
    counts.collect()
}

/// Which proxies use a Service, by their places in the list.
type Users<'a> = HashMap<&'a ServiceName, Vec<usize>>;

fn users_of(proxies: &[StreamStatus]) -> Users<'_> {
    let mut users = Users::new();
    for (place, proxy) in proxies.iter().enumerate() {
        for service in proxy.subscriptions.iter() {
            users.entry(service).or_default().push(place);
        }
    }
    users
}

fn served(serving: &Serving, summary: Summary, trial: Option<&TrialCounts>) -> Counts {
    let candidate = trial.map(|counts| AbortedCandidate {
        hash: hash_of(&counts.trial),
        faults: counts.faults.clone(),
        proxies: counts.proxies,
    });
    Counts {
        version: serving.policy.version().to_string(),
        subscribed: summary.subscribed,
        programmed: summary.programmed,
        troubles: summary.troubles.into_iter().take(MAX_TROUBLES).map(TroubleCount::from).collect(),
        candidate: candidate.filter(|candidate| !candidate.faults.is_empty()),
    }
}

/// What is to be told of a policy that nothing is in effect of here, since it is not well, while another replica may serve it, of which it
/// has a module or an earlier version: the proxies that do without.
fn unserved(status: &PolicyStatus, proxies: &[StreamStatus], users: &Users<'_>) -> Option<Counts> {
    let why = status.invalid.as_ref().or_else(|| Some(&status.resolved_refs).filter(|refs| !refs.status))?;
    let services = status.targets.iter().filter_map(|it| ServiceName::new(&status.object.namespace, &it.service).ok());
    let users: BTreeSet<_> = services.flat_map(|service| users.get(&service).cloned().unwrap_or_default()).collect();
    if users.is_empty() {
        return None;
    }
    let trouble = TroubleCount {
        phase: "not served".to_owned(),
        reason: why.message.chars().take(MAX_REASON_CHARS).collect(),
        count: users.len(),
        proxies: users.iter().take(MAX_NAMED).map(|place| proxies[*place].node.proxy.clone()).collect(),
    };
    Some(Counts { subscribed: users.len(), troubles: vec![trouble], ..Counts::default() })
}

/// Names a trial in the cluster.
pub fn hash_of(trial: &Trial) -> String {
    trial.version().to_string()
}

/// What the proxies of all replicas make of a policy in this version.
pub fn sum<'a>(version: &str, trial: Option<&Trial>, counts: impl Iterator<Item = &'a Counts>) -> Counts {
    let hash = trial.map(hash_of);
    let mut sum = Counts { version: version.to_owned(), ..Counts::default() };
    for counts in counts {
        // A replica that is behind still says how many proxies there are.
        sum.subscribed += counts.subscribed;
        if counts.version == version {
            sum.programmed += counts.programmed;
        }
        if counts.version == version || counts.version.is_empty() {
            counts.troubles.iter().for_each(|trouble| sum.add_trouble(trouble));
        }
        if let Some(candidate) = counts.candidate.as_ref().filter(|candidate| Some(&candidate.hash) == hash.as_ref()) {
            let all = sum.candidate.get_or_insert_with(|| AbortedCandidate {
                hash: candidate.hash.clone(),
                ..AbortedCandidate::default()
            });
            all.proxies += candidate.proxies;
            for (reason, count) in &candidate.faults {
                let faults = all.faults.entry(reason.clone()).or_default();
                *faults = faults.saturating_add(*count);
            }
        }
    }
    sum.troubles.truncate(MAX_TROUBLES);
    sum
}

impl Counts {
    fn add_trouble(&mut self, trouble: &TroubleCount) {
        let is_the_same =
            |known: &&mut TroubleCount| (&known.phase, &known.reason) == (&trouble.phase, &trouble.reason);
        match self.troubles.iter_mut().find(is_the_same) {
            Some(known) => {
                known.count += trouble.count;
                known.proxies.extend(trouble.proxies.iter().cloned());
                known.proxies.truncate(MAX_NAMED);
            }
            None => self.troubles.push(trouble.clone()),
        }
    }
}

impl From<Trouble> for TroubleCount {
    fn from(trouble: Trouble) -> Self {
        let Trouble { phase, reason, count, mut proxies } = trouble;
        proxies.truncate(MAX_NAMED);
        Self { phase: phase.to_owned(), reason, count, proxies }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use wasmesh_core::policy::{ModuleDigest, TrialMode, WasmProgram};
    use wasmesh_proto::{session::server::Holding, wire};

    use super::*;
    use crate::translate::{
        ObjectKind,
        policy::{Condition, Reason, TargetStatus},
    };

    fn counts(version: &str, subscribed: usize, programmed: usize) -> Counts {
        Counts { version: version.to_owned(), subscribed, programmed, ..Counts::default() }
    }

    fn trouble(reason: &str, proxies: &[&str]) -> TroubleCount {
        let proxies: Vec<_> = proxies.iter().map(|proxy| (*proxy).to_owned()).collect();
        TroubleCount { phase: "rejected".to_owned(), reason: reason.to_owned(), count: proxies.len(), proxies }
    }

    fn trial(percent: u8) -> Trial {
        let module = ModuleDigest([7; 32]);
        let program = WasmProgram { module, config: String::new(), fuel: 1, memory_mib: 1 };
        Trial { program, mode: TrialMode::Serve, percent, abort_on_faults: Some(3) }
    }

    #[test]
    fn what_is_counted_of_another_version_is_not_programmed() {
        let all = [counts("new", 3, 2), counts("old", 4, 4)];
        let sum = sum("new", None, all.iter());
        assert_eq!((sum.subscribed, sum.programmed), (7, 2));
    }

    #[test]
    fn proxies_of_a_replica_that_cannot_have_it_are_counted_too() {
        let finding = |status, reason, message: &str| Condition { status, reason, message: message.to_owned() };
        let accepted = finding(true, Reason::Accepted, "");
        let target = |service: &str| TargetStatus {
            service: service.to_owned(),
            port: None,
            accepted: accepted.clone(),
            governs: Vec::new(),
            lost: BTreeMap::new(),
        };
        let (namespace, name) = ("shop".to_owned(), "own".to_owned());
        let well = PolicyStatus {
            object: ObjectKey { kind: ObjectKind::LoadBalancingPolicy, namespace, name },
            generation: None,
            invalid: None,
            accepted: accepted.clone(),
            resolved_refs: finding(true, Reason::ResolvedRefs, ""),
            serving: None,
            targets: vec![target("web"), target("api")],
            candidate: None,
            written: None,
        };
        let down = finding(false, Reason::FetchFailed, "it is down");
        let refused = PolicyStatus { resolved_refs: down, ..well.clone() };
        let proxy = |name: &str, service: &str| StreamStatus {
            node: wire::Node { proxy: name.to_owned(), ..wire::Node::default() },
            since: Instant::now(),
            acknowledged: None,
            subscriptions: Arc::new([ServiceName::new("shop", service).unwrap()].into()),
            holding: Holding::default(),
            policies: Arc::default(),
            rejected: BTreeMap::new(),
        };
        let proxies = [proxy("a", "web"), proxy("b", "api"), proxy("c", "other")];
        let reported = |status: &PolicyStatus, proxies: &[StreamStatus]| {
            report(std::slice::from_ref(status), proxies, &BTreeMap::new()).remove("shop/own")
        };
        assert_eq!(reported(&well, &proxies), None);
        assert_eq!(reported(&refused, &proxies[2..]), None, "nobody uses it");
        let elsewhere = reported(&refused, &proxies).unwrap();
        let sum = sum("new", None, [&counts("new", 3, 3), &elsewhere].into_iter());
        assert_eq!((sum.subscribed, sum.programmed), (5, 3));
        let told: Vec<_> = sum.troubles.iter().map(|it| (it.phase.as_str(), it.reason.as_str(), it.count)).collect();
        assert_eq!(told, [("not served", "it is down", 2)]);
        let invalid = Some(finding(false, Reason::Invalid, "spec.allow: no"));
        assert!(reported(&PolicyStatus { invalid, ..well }, &proxies).is_some());
    }

    #[test]
    fn the_same_trouble_is_told_once() {
        let mut one = counts("new", 2, 0);
        one.troubles = vec![trouble("no export", &["a", "b"])];
        let mut two = counts("new", 2, 0);
        two.troubles = vec![trouble("no export", &["c"]), trouble("no memory", &["d"])];
        let sum = sum("new", None, [one, two].iter());
        let told: Vec<_> = sum.troubles.iter().map(|it| (it.reason.as_str(), it.count, it.proxies.len())).collect();
        assert_eq!(told, [("no export", 3, 2), ("no memory", 1, 1)]);
    }

    #[test]
    fn faults_of_the_declared_candidate_are_added_up() {
        let of = |trial: &Trial, faults: u64| Counts {
            candidate: Some(AbortedCandidate {
                hash: hash_of(trial),
                faults: [("trap".to_owned(), faults)].into(),
                proxies: 1,
            }),
            ..counts("new", 1, 1)
        };
        let all = [of(&trial(5), 2), of(&trial(5), 1), of(&trial(6), 9)];
        let candidate = sum("new", Some(&trial(5)), all.iter()).candidate.unwrap();
        assert_eq!((candidate.faults["trap"], candidate.proxies), (3, 2));
        assert_eq!(sum("new", None, all.iter()).candidate, None);
    }
}

//! What proxies say of the policies they run, summed up per policy.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wasmesh_core::{
    name::ServiceName,
    policy::{ModuleDigest, PortPolicy},
};
use wasmesh_proto::wire::{PolicyReport, PolicyState, policy_state::Phase};

use crate::translate::{ObjectKey, ObjectKind, policy::PolicyStatus};

/// What is kept of one report: no proxy has that many ports in use, and no reason is that long.
const MAX_STATES: usize = 4096;
const MAX_REASON_CHARS: usize = 500;
const MAX_FAULT_REASONS: usize = 32;
/// How many proxies are named with what is wrong on them.
const MAX_NAMED: usize = 10;

/// A proxy as far as policies go.
#[derive(Debug, Clone, Copy)]
pub struct Reporter<'a> {
    /// Its name.
    pub proxy: &'a str,
    /// The Services whose endpoints it gets.
    pub subscriptions: &'a BTreeSet<ServiceName>,
    /// Whether it has everything that is published.
    pub is_current: bool,
    /// What it has said last.
    pub states: &'a [PolicyState],
}

/// What the proxies make of one policy, or of its candidate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Summary {
    /// How many proxies use a Service that the policy governs.
    pub subscribed: usize,
    /// On how many of them it decides, wherever they use it.
    pub programmed: usize,
    /// How many proxies run which module, by its SHA-256.
    pub modules: BTreeMap<String, usize>,
    /// In which phase the policy is, over all ports of all proxies.
    pub phases: BTreeMap<&'static str, usize>,
    /// What is wrong, and where.
    pub troubles: Vec<Trouble>,
    /// Faults by reason.
    pub faults: BTreeMap<String, u64>,
    /// Picks decided.
    pub picks: u64,
    /// Picks that the fallback policy decided instead.
    pub fallbacks: u64,
    /// Of a candidate in the shadow: decisions compared.
    pub compared: u64,
    /// Those of them that differed.
    pub disagreed: u64,
}

/// Something that is wrong on some proxies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// What has become of the policy there.
    pub phase: &'static str,
    /// Why.
    pub reason: String,
    /// On how many proxies.
    pub count: usize,
    /// The first of them.
    pub proxies: Vec<String>,
}

/// The states of a report as far as they are kept.
pub fn bounded(report: PolicyReport) -> Vec<PolicyState> {
    let mut states = report.states;
    states.truncate(MAX_STATES);
    for state in &mut states {
        shorten(&mut state.reason);
        state.faults.truncate(MAX_FAULT_REASONS);
        state.faults.iter_mut().for_each(|count| shorten(&mut count.reason));
    }
    states.shrink_to_fit();
    states
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_REASON_CHARS) {
        text.truncate(end);
        text.shrink_to_fit();
    }
}

/// The policy that a state is about: it lives in the namespace of its Service.
pub fn object_of(state: &PolicyState) -> Option<ObjectKey> {
    let service: ServiceName = state.service.parse().ok()?;
    let (kind, namespace) = (ObjectKind::LoadBalancingPolicy, service.namespace().to_owned());
    Some(ObjectKey { kind, namespace, name: state.policy.clone() })
}

/// The name of a phase.
pub fn phase_name(state: &PolicyState) -> &'static str {
    match state.phase() {
        Phase::Loading => "loading",
        Phase::Programmed => "programmed",
        Phase::Rejected => "rejected",
        Phase::Quarantined => "quarantined",
        Phase::Aborted => "aborted",
    }
}

/// Whether something is wrong.
pub fn is_trouble(state: &PolicyState) -> bool {
    matches!(state.phase(), Phase::Rejected | Phase::Quarantined | Phase::Aborted)
}

/// What proxies make of a policy, and of its candidate.
pub fn summarize<'a>(status: &PolicyStatus, proxies: impl Iterator<Item = Reporter<'a>>) -> (Summary, Summary) {
    let (mut policy, mut candidate) = (Gathering::default(), Gathering::default());
    let serving = status.serving.as_ref();
    let module = serving.and_then(|serving| Some(serving.policy.wasm()?.program.module));
    let trial = serving.and_then(|serving| Some(serving.trial.as_ref()?.program.module));
    let is_builtin = serving.is_some_and(|serving| matches!(serving.policy, PortPolicy::Builtin(_)));
    let governed = governed(status);
    for proxy in proxies {
        let (on_trial, serving): (Vec<_>, Vec<_>) = proxy
            .states
            .iter()
            .filter(|state| object_of(state).as_ref() == Some(&status.object))
            .partition(|s| s.trial);
        let is_subscribed = governed.iter().any(|service| proxy.subscriptions.contains(service));
        policy.add(&proxy, is_subscribed, &serving, module);
        policy.summary.programmed += usize::from(is_builtin && is_subscribed && proxy.is_current);
        candidate.add(&proxy, is_subscribed, &on_trial, trial);
    }
    (policy.into_summary(), candidate.into_summary())
}

/// The Services of which a policy governs a port.
fn governed(status: &PolicyStatus) -> BTreeSet<ServiceName> {
    let targets = status.targets.iter().filter(|target| !target.governs.is_empty());
    targets.filter_map(|target| ServiceName::new(&status.object.namespace, &target.service).ok()).collect()
}

/// A summary on its way.
#[derive(Default)]
struct Gathering {
    summary: Summary,
    troubles: BTreeMap<(&'static str, String), BTreeSet<String>>,
}

impl Gathering {
    fn add(
        &mut self,
        proxy: &Reporter<'_>,
        is_subscribed: bool,
        states: &[&PolicyState],
        wanted: Option<ModuleDigest>,
    ) {
        let summary = &mut self.summary;
        summary.subscribed += usize::from(is_subscribed);
        let runs = |state: &&&PolicyState| state.phase() == Phase::Programmed;
        let mut wanted_ones = states.iter().filter(|state| wanted.is_some_and(|wanted| wanted.0[..] == state.module));
        let is_programmed = wanted_ones.clone().next().is_some() && wanted_ones.all(|state| runs(&state));
        summary.programmed += usize::from(is_programmed);
        let running = states.iter().filter(runs).filter_map(|state| state.module.as_slice().try_into().ok());
        for module in running.map(ModuleDigest).collect::<BTreeSet<_>>() {
            *summary.modules.entry(module.to_string()).or_default() += 1;
        }
        for state in states {
            *summary.phases.entry(phase_name(state)).or_default() += 1;
            for count in &state.faults {
                let sum = summary.faults.entry(count.reason.clone()).or_default();
                *sum = sum.saturating_add(count.count);
            }
            summary.picks = summary.picks.saturating_add(state.picks);
            summary.fallbacks = summary.fallbacks.saturating_add(state.fallbacks);
            summary.compared = summary.compared.saturating_add(state.compared);
            summary.disagreed = summary.disagreed.saturating_add(state.disagreed);
            if is_trouble(state) {
                let proxies = self.troubles.entry((phase_name(state), state.reason.clone())).or_default();
                proxies.insert(proxy.proxy.to_owned());
            }
        }
    }

    fn into_summary(self) -> Summary {
        let troubles = self.troubles.into_iter().map(|((phase, reason), proxies)| Trouble {
            phase,
            reason,
            count: proxies.len(),
            proxies: proxies.into_iter().take(MAX_NAMED).collect(),
        });
        Summary { troubles: troubles.collect(), ..self.summary }
    }
}

//! What proxies say of the policies they run, summed up per policy.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Serialize;
use wasmesh_core::{
    name::ServiceName,
    policy::{ModuleDigest, PortPolicy},
    service::Service,
};
use wasmesh_proto::{
    session::server::Holding,
    wire::{PolicyReport, PolicyState, policy_state::Phase},
};

use crate::translate::{
    ObjectKey, ObjectKind,
    policy::{PolicyStatus, PortName, TargetStatus},
};

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
    /// What it has of what Services declare.
    pub holding: &'a Holding,
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

/// What proxies make of each policy, and of its candidate, in the order of the policies.
///
/// Costs what the proxies use and say, however many policies there are.
pub fn summarize<'a>(
    statuses: &[PolicyStatus],
    proxies: impl Iterator<Item = Reporter<'a>>,
) -> Vec<(Summary, Summary)> {
    let subjects: Vec<_> = statuses.iter().map(Subject::of).collect();
    let by_object: HashMap<_, _> = statuses.iter().map(|status| &status.object).zip(0..).collect();
    let mut by_service: HashMap<ServiceName, Vec<(usize, &TargetStatus)>> = HashMap::new();
    for (index, status) in statuses.iter().enumerate() {
        for target in status.targets.iter().filter(|target| !target.governs.is_empty()) {
            if let Ok(service) = ServiceName::new(&status.object.namespace, &target.service) {
                by_service.entry(service).or_default().push((index, target));
            }
        }
    }
    let mut sums: Vec<_> = statuses.iter().map(|_| (Gathering::default(), Gathering::default())).collect();
    for proxy in proxies {
        let mut uses: BTreeMap<usize, Use<'_>> = BTreeMap::new();
        for service in proxy.subscriptions {
            for (index, target) in by_service.get(service).into_iter().flatten() {
                let has_it = subjects[*index].is_held(proxy.holding.service(service), target);
                uses.entry(*index).or_default().services.push(has_it);
            }
        }
        for state in proxy.states {
            if let Some(index) = object_of(state).and_then(|object| by_object.get(&object)) {
                let its = uses.entry(*index).or_default();
                if state.trial { its.on_trial.push(state) } else { its.serving.push(state) }
            }
        }
        for (index, Use { services, serving, on_trial }) in uses {
            let (subject, (policy, candidate)) = (&subjects[index], &mut sums[index]);
            let is_subscribed = !services.is_empty();
            policy.add(&proxy, is_subscribed, &serving, subject.module);
            let is_programmed = subject.builtin.is_some() && is_subscribed && services.iter().all(|has_it| *has_it);
            policy.summary.programmed += usize::from(is_programmed);
            candidate.add(&proxy, is_subscribed, &on_trial, subject.trial);
        }
    }
    sums.into_iter().map(|(policy, candidate)| (policy.into_summary(), candidate.into_summary())).collect()
}

/// A policy as far as it is looked for on proxies.
struct Subject<'a> {
    /// The policy that ports are given, if it is a built-in one. A module says itself where it runs.
    builtin: Option<&'a PortPolicy>,
    module: Option<ModuleDigest>,
    trial: Option<ModuleDigest>,
}

/// What one proxy has to do with one policy.
#[derive(Default)]
struct Use<'a> {
    /// Of each governed Service that it uses: whether it has been given the policy with it.
    services: Vec<bool>,
    serving: Vec<&'a PolicyState>,
    on_trial: Vec<&'a PolicyState>,
}

impl<'a> Subject<'a> {
    fn of(status: &'a PolicyStatus) -> Self {
        let serving = status.serving.as_ref();
        let policy = serving.map(|serving| &serving.policy);
        Self {
            builtin: policy.filter(|policy| matches!(policy, PortPolicy::Builtin(_))),
            module: policy.and_then(|policy| Some(policy.wasm()?.program.module)),
            trial: serving.and_then(|serving| Some(serving.trial.as_ref()?.program.module)),
        }
    }

    /// Whether the Service as a proxy has it gives the policy to all ports that the policy governs there. That holds from
    /// the acknowledgement on, whatever becomes of its endpoints: they come on top of what it declares.
    fn is_held(&self, service: Option<&Arc<Service>>, target: &TargetStatus) -> bool {
        let Some((policy, service)) = self.builtin.zip(service) else { return false };
        let ports = &service.spec.value.ports;
        let has_it = |governed: &PortName| {
            let port = ports.iter().find(|port| (&port.name, port.port) == (&governed.name, governed.number));
            port.is_some_and(|port| port.policy == *policy)
        };
        target.governs.iter().all(has_it)
    }
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

#[cfg(test)]
mod tests {
    use wasmesh_core::{
        endpoint::EndpointSet,
        policy::{Allowed, BuiltinPolicy, OnFailure, Trial, TrialMode, WasmPolicy, WasmProgram},
        service::{Affinity, AppProtocol, InternalTraffic, ServiceKind, ServicePort, ServiceSpec, Transport},
        snapshot::Snapshot,
    };
    use wasmesh_proto::wire::Count;

    use super::*;
    use crate::translate::policy::{Condition, Reason, Serving};

    const GOOD: Condition = Condition { status: true, reason: Reason::Accepted, message: String::new() };

    fn program(module: u8) -> WasmProgram {
        WasmProgram { module: ModuleDigest([module; 32]), config: "{}".to_owned(), fuel: 1, memory_mib: 1 }
    }

    /// The policy `shop/own` governs a port of `shop/web`: module 1, with 2 on trial.
    fn status() -> PolicyStatus {
        let trial = Trial { program: program(2), mode: TrialMode::Shadow, percent: 5, abort_on_faults: None };
        let policy = WasmPolicy {
            name: "own".to_owned(),
            program: program(1),
            fallback: BuiltinPolicy::Random,
            on_failure: OnFailure::Fallback,
            allow: Allowed::default(),
            trial: Some(trial.clone()),
        };
        let target = |service: &str, governs: Vec<PortName>| TargetStatus {
            service: service.to_owned(),
            port: None,
            accepted: GOOD,
            governs,
            lost: BTreeMap::new(),
        };
        let port = PortName { name: "http".to_owned(), number: 80 };
        PolicyStatus {
            object: object_of(&state("shop/web", 1, Phase::Programmed)).unwrap(),
            generation: None,
            invalid: None,
            accepted: GOOD,
            resolved_refs: GOOD,
            serving: Some(Serving {
                policy: PortPolicy::Wasm(Arc::new(policy)),
                trial: Some(trial),
                is_earlier: false,
            }),
            targets: vec![target("web", vec![port]), target("lost", Vec::new())],
            candidate: None,
            written: None,
        }
    }

    fn state(service: &str, module: u8, phase: Phase) -> PolicyState {
        PolicyState {
            service: service.to_owned(),
            port: "http".to_owned(),
            policy: "own".to_owned(),
            module: vec![module; 32],
            phase: phase.into(),
            picks: 10,
            ..Default::default()
        }
    }

    fn summary(status: &PolicyStatus, proxies: &[(&str, &str, Vec<PolicyState>)]) -> (Summary, Summary) {
        summary_with(status, &Holding::default(), proxies)
    }

    fn summary_with(
        status: &PolicyStatus,
        holding: &Holding,
        proxies: &[(&str, &str, Vec<PolicyState>)],
    ) -> (Summary, Summary) {
        let subscriptions: Vec<BTreeSet<ServiceName>> =
            proxies.iter().map(|(_, service, _)| BTreeSet::from([service.parse().unwrap()])).collect();
        let reporters = proxies.iter().zip(&subscriptions).map(|((proxy, _, states), subscriptions)| Reporter {
            proxy,
            subscriptions,
            holding,
            states,
        });
        let mut summaries = summarize(std::slice::from_ref(status), reporters);
        assert_eq!(summaries.len(), 1);
        summaries.remove(0)
    }

    /// `shop/web` with this policy.
    fn web(policy: BuiltinPolicy) -> Snapshot {
        let name: ServiceName = "shop/web".parse().unwrap();
        let port = ServicePort {
            name: "http".to_owned(),
            port: 80,
            transport: Transport::Tcp,
            protocol: AppProtocol::Detect,
            policy: policy.into(),
        };
        let spec = ServiceSpec {
            name: name.clone(),
            kind: ServiceKind::Headless,
            ports: vec![port],
            affinity: Affinity::None,
            internal_traffic: InternalTraffic::Cluster,
        };
        [(name, Arc::new(Service::new(spec, EndpointSet::default())))].into_iter().collect()
    }

    #[test]
    fn proxies_are_counted_by_what_they_run() {
        let on = |phase| state("shop/web", 1, phase);
        let (policy, candidate) = summary(
            &status(),
            &[
                ("a", "shop/web", vec![on(Phase::Programmed), on(Phase::Programmed)]),
                ("b", "shop/web", vec![on(Phase::Programmed), on(Phase::Loading)]),
                ("c", "shop/web", vec![state("shop/web", 9, Phase::Programmed)]),
                ("d", "shop/web", Vec::new()),
                ("e", "shop/lost", Vec::new()),
                ("f", "shop/web", vec![state("bank/web", 1, Phase::Programmed)]),
                ("g", "shop/web", vec![PolicyState { trial: true, ..state("shop/web", 2, Phase::Programmed) }]),
            ],
        );
        assert_eq!((policy.subscribed, policy.programmed), (6, 1));
        assert_eq!(policy.phases, BTreeMap::from([("programmed", 4), ("loading", 1)]));
        let modules = [(ModuleDigest([1; 32]).to_string(), 2), (ModuleDigest([9; 32]).to_string(), 1)];
        assert_eq!(policy.modules, BTreeMap::from(modules));
        assert_eq!((policy.picks, candidate.picks, candidate.programmed), (50, 10, 1));
    }

    #[test]
    fn what_is_wrong_is_told_once_with_the_proxies_it_is_wrong_on() {
        let faults = |count| vec![Count { reason: "trap".to_owned(), count }];
        let rejected = |reason: &str| PolicyState {
            reason: reason.to_owned(),
            faults: faults(2),
            ..state("shop/web", 1, Phase::Rejected)
        };
        let names: Vec<_> = (0..12).map(|n| format!("p{n:02}")).collect();
        let mut proxies: Vec<_> =
            names.iter().map(|name| (name.as_str(), "shop/web", vec![rejected("no export")])).collect();
        proxies.push(("x", "shop/web", vec![PolicyState { faults: faults(u64::MAX), ..rejected("no memory") }]));
        let (policy, _) = summary(&status(), &proxies);
        let told: Vec<_> = policy.troubles.iter().map(|it| (it.reason.as_str(), it.count, it.proxies.len())).collect();
        assert_eq!(told, [("no export", 12, 10), ("no memory", 1, 1)]);
        assert_eq!((policy.faults["trap"], policy.phases["rejected"]), (u64::MAX, 13));
    }

    #[test]
    fn a_builtin_policy_runs_where_its_service_has_arrived_with_it() {
        let builtin = Serving { policy: BuiltinPolicy::Random.into(), trial: None, is_earlier: false };
        let status = PolicyStatus { serving: Some(builtin), ..status() };
        let counted = |holding: &Holding| {
            let proxies = [("a", "shop/web", Vec::new()), ("b", "shop/lost", Vec::new())];
            let (policy, _) = summary_with(&status, holding, &proxies);
            (policy.subscribed, policy.programmed)
        };
        assert_eq!(counted(&Holding::default()), (1, 0));
        assert_eq!(counted(&Holding::all_of(web(BuiltinPolicy::LeastRequest))), (1, 0));
        assert_eq!(counted(&Holding::all_of(web(BuiltinPolicy::Random))), (1, 1));
    }

    #[test]
    fn each_policy_has_its_own_summary() {
        let mut other = status();
        other.object.name = "other".to_owned();
        other.targets[0].service = "cart".to_owned();
        let states = [state("shop/web", 1, Phase::Programmed)];
        let (subscriptions, holding) = (BTreeSet::from(["shop/web".parse().unwrap()]), Holding::default());
        let reporter = Reporter { proxy: "a", subscriptions: &subscriptions, holding: &holding, states: &states };
        let summaries = summarize(&[other, status()], std::iter::once(reporter));
        let counted: Vec<_> = summaries.iter().map(|(policy, _)| (policy.subscribed, policy.programmed)).collect();
        assert_eq!(counted, [(0, 0), (1, 1)]);
    }

    #[test]
    fn a_report_is_kept_within_bounds() {
        let long = PolicyState {
            reason: "é".repeat(10_000),
            faults: (0..100).map(|n| Count { reason: format!("{n}{}", "x".repeat(9_000)), count: 1 }).collect(),
            ..state("shop/web", 1, Phase::Rejected)
        };
        let short = state("shop/web", 1, Phase::Programmed);
        let states = bounded(PolicyReport { states: [vec![long], vec![short; 5_000]].concat() });
        assert_eq!((states.len(), states[0].faults.len()), (4_096, 32));
        assert_eq!(states[0].reason.chars().count(), 500);
        assert!(states[0].faults.iter().all(|count| count.reason.len() == 500));
    }
}

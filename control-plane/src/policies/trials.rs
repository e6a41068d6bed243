//! Which candidates have failed too often: a decision about the whole mesh, made from what each proxy counts.
//!
//! A proxy ends a trial by itself when it has seen enough faults; many proxies with few each are seen here only.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use wasmesh_core::policy::{ModuleDigest, Trial};
use wasmesh_proto::wire;

use super::reports::object_of;
use crate::translate::ObjectKey;

/// Of how many Service ports on proxies the counts of one trial are remembered. Those beyond do not count.
const MAX_SOURCES: usize = 100_000;

/// A candidate that has been taken back. It stays so until the object declares another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    /// What was tried.
    pub trial: Trial,
    /// Its faults by reason, over all proxies.
    pub faults: BTreeMap<String, u64>,
    /// On how many proxies it has failed.
    pub proxies: usize,
}

/// What a candidate has done so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialCounts {
    /// What is tried.
    pub trial: Trial,
    /// Its faults by reason, over all proxies.
    pub faults: BTreeMap<String, u64>,
    /// On how many proxies it has failed.
    pub proxies: usize,
}

/// The candidates that have been taken back, by policy.
pub type Aborts = BTreeMap<ObjectKey, Abort>;

/// All trials of the mesh. Clones are the same.
#[derive(Clone, Default)]
pub struct Trials {
    tally: Arc<Mutex<Tally>>,
    changed: Arc<Notify>,
}

impl Trials {
    /// Follows these trials from now on and forgets all others. Returns the candidates to be taken back.
    pub fn follow<'a>(&self, declared: impl Iterator<Item = (&'a ObjectKey, &'a Trial)>) -> Aborts {
        let mut tally = self.lock();
        tally.follow(declared);
        tally.aborts.clone()
    }

    /// Takes in what a proxy has counted.
    pub fn report(&self, proxy: &str, states: &[wire::PolicyState]) {
        if self.lock().report(proxy, states) {
            self.changed.notify_one();
        }
    }

    /// What every candidate that is followed has done on these proxies. A proxy counts from its start and tells whichever
    /// replica it is connected to all of it: where several replicas add up, each must speak of its own proxies only.
    pub fn counts(&self, connected: &BTreeSet<&str>) -> BTreeMap<ObjectKey, TrialCounts> {
        let tally = self.lock();
        tally.running.iter().map(|(key, running)| (key.clone(), running.counts(connected))).collect()
    }

    /// Waits until a candidate is to be taken back that was not before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The faults of all trials. Proxies count from their start, so what each has said before is remembered: a report is
/// worth what it adds.
#[derive(Debug, Default)]
struct Tally {
    running: BTreeMap<ObjectKey, Running>,
    aborts: Aborts,
}

#[derive(Debug)]
struct Running {
    trial: Trial,
    /// What each port of a Service on each proxy has said last, and what that has added to this trial.
    seen: HashMap<Source, BTreeMap<String, Heard>>,
    faults: BTreeMap<String, u64>,
    proxies: BTreeSet<String>,
}

/// The faults of one reason, of one source.
#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    last: u64,
    added: u64,
}

/// Proxy, Service and port.
type Source = (String, String, String);

impl Tally {
    fn follow<'a>(&mut self, declared: impl Iterator<Item = (&'a ObjectKey, &'a Trial)>) {
        let mut before = std::mem::take(&mut self.running);
        self.running = declared.map(|(key, trial)| (key.clone(), Running::next(before.remove(key), trial))).collect();
        let running = &self.running;
        self.aborts.retain(|key, abort| running.get(key).is_some_and(|running| running.trial == abort.trial));
    }

    /// Returns whether a trial has come to its end by this.
    fn report(&mut self, proxy: &str, states: &[wire::PolicyState]) -> bool {
        let mut is_over = false;
        for state in states.iter().filter(|state| state.trial) {
            let Some(key) = object_of(state) else { continue };
            let Some(running) = self.running.get_mut(&key).filter(|running| running.is_about(&state.module)) else {
                continue;
            };
            running.add(proxy, state);
            if running.has_failed() && !self.aborts.contains_key(&key) {
                self.aborts.insert(key, running.abort());
                is_over = true;
            }
        }
        is_over
    }
}

impl Running {
    /// The trial after another one, or the same going on. Of the same module, what has been counted is known already and
    /// belongs to the one before.
    fn next(before: Option<Self>, trial: &Trial) -> Self {
        match before {
            Some(before) if before.trial == *trial => before,
            Some(before) if before.trial.program.module == trial.program.module => {
                let mut seen = before.seen;
                seen.values_mut().flat_map(BTreeMap::values_mut).for_each(|heard| heard.added = 0);
                Self { seen, ..Self::new(trial) }
            }
            _ => Self::new(trial),
        }
    }

    fn new(trial: &Trial) -> Self {
        Self { trial: trial.clone(), seen: HashMap::new(), faults: BTreeMap::new(), proxies: BTreeSet::new() }
    }

    fn is_about(&self, module: &[u8]) -> bool {
        let ModuleDigest(digest) = &self.trial.program.module;
        digest == module
    }

    fn add(&mut self, proxy: &str, state: &wire::PolicyState) {
        let source = (proxy.to_owned(), state.service.clone(), state.port.clone());
        if self.seen.len() >= MAX_SOURCES && !self.seen.contains_key(&source) {
            return;
        }
        let seen = self.seen.entry(source).or_default();
        for wire::Count { reason, count } in &state.faults {
            let heard = seen.entry(reason.clone()).or_default();
            // A proxy that counts less than before has started anew.
            let new = count.checked_sub(heard.last).unwrap_or(*count);
            *heard = Heard { last: *count, added: heard.added.saturating_add(new) };
            if new > 0 {
                *self.faults.entry(reason.clone()).or_default() += new;
                self.proxies.insert(proxy.to_owned());
            }
        }
    }

    fn counts(&self, connected: &BTreeSet<&str>) -> TrialCounts {
        let mut counts = TrialCounts { trial: self.trial.clone(), faults: BTreeMap::new(), proxies: 0 };
        let mut proxies = BTreeSet::new();
        for ((proxy, ..), reasons) in self.seen.iter().filter(|((proxy, ..), _)| connected.contains(proxy.as_str())) {
            for (reason, heard) in reasons.iter().filter(|(_, heard)| heard.added > 0) {
                let faults = counts.faults.entry(reason.clone()).or_default();
                *faults = faults.saturating_add(heard.added);
                proxies.insert(proxy);
            }
        }
        counts.proxies = proxies.len();
        counts
    }

    fn has_failed(&self) -> bool {
        self.trial.abort_on_faults.is_some_and(|limit| self.faults.values().sum::<u64>() >= limit.into())
    }

    fn abort(&self) -> Abort {
        Abort { trial: self.trial.clone(), faults: self.faults.clone(), proxies: self.proxies.len() }
    }
}

#[cfg(test)]
mod tests {
    use wasmesh_core::policy::{TrialMode, WasmProgram};

    use super::*;
    use crate::translate::ObjectKind;

    fn key() -> ObjectKey {
        ObjectKey { kind: ObjectKind::LoadBalancingPolicy, namespace: "shop".to_owned(), name: "own".to_owned() }
    }

    fn trial(module: u8, config: &str, limit: u32) -> Trial {
        let config = config.to_owned();
        let program = WasmProgram { module: ModuleDigest([module; 32]), config, fuel: 1, memory_mib: 1 };
        Trial { program, mode: TrialMode::Serve, percent: 5, abort_on_faults: Some(limit) }
    }

    /// What a proxy says of the trial of a module on `shop/web`.
    fn state(module: u8, traps: u64) -> wire::PolicyState {
        wire::PolicyState {
            service: "shop/web".to_owned(),
            policy: "own".to_owned(),
            module: vec![module; 32],
            trial: true,
            faults: vec![wire::Count { reason: "trap".to_owned(), count: traps }],
            ..Default::default()
        }
    }

    fn tally(trial: &Trial) -> Tally {
        let mut tally = Tally::default();
        tally.follow([(&key(), trial)].into_iter());
        tally
    }

    #[test]
    fn faults_are_summed_over_proxies() {
        let mut tally = tally(&trial(1, "", 3));
        assert!(!tally.report("a", &[state(1, 1)]));
        assert!(!tally.report("a", &[state(1, 1)]), "said again is not seen again");
        assert!(!tally.report("b", &[state(1, 1)]));
        assert!(tally.report("b", &[state(1, 2)]));
        let abort = &tally.aborts[&key()];
        assert_eq!((abort.faults["trap"], abort.proxies), (3, 2));
        assert!(!tally.report("c", &[state(1, 9)]), "once is enough");
    }

    #[test]
    fn other_replicas_are_told_of_connected_proxies_only() {
        let mut tally = tally(&trial(1, "", 9));
        tally.report("a", &[state(1, 2)]);
        tally.report("b", &[state(1, 3)]);
        tally.report("b", &[state(1, 1)]);
        let counts = |connected: &[&str]| {
            let counts = tally.running[&key()].counts(&connected.iter().copied().collect());
            (counts.faults.get("trap").copied().unwrap_or_default(), counts.proxies)
        };
        assert_eq!((counts(&["a", "b", "c"]), counts(&["b"]), counts(&[])), ((6, 2), (4, 1), (0, 0)));
    }

    #[test]
    fn ports_of_a_proxy_count_each() {
        let mut tally = tally(&trial(1, "", 4));
        let of_port = |port: &str| wire::PolicyState { port: port.to_owned(), ..state(1, 2) };
        assert!(tally.report("a", &[of_port("http"), of_port("grpc")]));
    }

    #[test]
    fn a_proxy_that_restarts_counts_on() {
        let mut tally = tally(&trial(1, "", 5));
        assert!(!tally.report("a", &[state(1, 4)]));
        assert!(tally.report("a", &[state(1, 1)]));
    }

    #[test]
    fn what_is_about_something_else_does_not_count() {
        let mut tally = tally(&trial(1, "", 1));
        assert!(!tally.report("a", &[wire::PolicyState { trial: false, ..state(1, 9) }]));
        assert!(!tally.report("a", &[state(2, 9)]), "another module");
        assert!(!tally.report("a", &[wire::PolicyState { policy: "other".to_owned(), ..state(1, 9) }]));
        assert!(!tally.report("a", &[wire::PolicyState { service: "bank/web".to_owned(), ..state(1, 9) }]));
        assert!(!tally.report("a", &[wire::PolicyState { service: "nonsense".to_owned(), ..state(1, 9) }]));
        assert!(!tally.report("a", &[wire::PolicyState { module: vec![1; 3], ..state(1, 9) }]));
    }

    #[test]
    fn without_a_limit_nothing_is_taken_back() {
        let mut tally = tally(&Trial { abort_on_faults: None, ..trial(1, "", 0) });
        assert!(!tally.report("a", &[state(1, u64::MAX)]));
    }

    #[test]
    fn another_candidate_begins_without_the_faults_of_the_one_before() {
        let first = trial(1, "{}", 3);
        for second in [trial(1, "{\"a\":1}", 3), trial(2, "{}", 3), trial(1, "{}", 4)] {
            let mut tally = tally(&first);
            assert!(tally.report("a", &[state(1, 3)]));
            tally.follow([(&key(), &first)].into_iter());
            assert_eq!(tally.aborts.len(), 1, "as long as it is declared it stays taken back");
            tally.follow([(&key(), &second)].into_iter());
            assert!(tally.aborts.is_empty());
            let module = second.program.module.0[0];
            let known = if module == 1 { 3 } else { 0 };
            assert!(!tally.report("a", &[state(module, known + 2)]));
            assert!(tally.report("a", &[state(module, known + u64::from(second.abort_on_faults.unwrap()))]));
        }
    }
}

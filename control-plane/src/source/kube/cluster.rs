//! What is known of a cluster, and what an event changes about it. No I/O: events come in, changes go out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    demand::{Demand, asked_by},
    event::Event,
    known::Known,
    scope::Scope,
};
use crate::{
    registry::ObjectChange,
    source::SourceUpdate,
    translate::{Object, ObjectKey, ObjectKind, Place, Problem},
};

/// What is known of a cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    scopes: BTreeMap<Scope, Known>,
    /// Why a scope cannot be followed at the moment.
    failures: BTreeMap<Scope, String>,
    /// What the objects ask for that have been told.
    demand: Demand,
    /// Policies that have come before the ConfigMaps that they name: to act on them now would say of each new one that its
    /// module is missing.
    waiting: HashMap<ObjectKey, Object>,
    /// What these ask for. Until they are told, the versions before them go on asking for what is theirs: a policy that
    /// comes to name another ConfigMap must not lose the one that it is served from.
    coming: Demand,
    /// What is to be told.
    changes: Vec<ObjectChange>,
    is_ready: bool,
    told_problems: Option<Vec<Problem>>,
}

/// Which watches are to be begun and ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Watches {
    pub(super) begin: Vec<Scope>,
    pub(super) end: Vec<Scope>,
}

impl Cluster {
    /// Nothing is known yet of what is watched whatever there is.
    pub(super) fn new() -> Self {
        Self {
            scopes: Scope::FIXED.into_iter().map(|scope| (scope, Known::default())).collect(),
            failures: BTreeMap::new(),
            demand: Demand::default(),
            waiting: HashMap::new(),
            coming: Demand::default(),
            changes: Vec::new(),
            is_ready: false,
            told_problems: None,
        }
    }

    /// Takes an event of a watch in.
    pub(super) fn take(&mut self, scope: &Scope, event: Event) {
        let Some(known) = self.scopes.get_mut(scope) else { return };
        match &event {
            Event::Failed { reason, .. } => {
                self.failures.insert(scope.clone(), reason.clone());
            }
            Event::ListEnds | Event::Applied(_) | Event::Deleted(_) | Event::Works => {
                self.failures.remove(scope);
            }
            Event::ListBegins | Event::Listed(_) => {}
        }
        let mut changes = Vec::new();
        known.take(event, &mut changes);
        for change in changes {
            self.note(change);
        }
    }

    fn note(&mut self, change: ObjectChange) {
        match change {
            ObjectChange::Upsert(object) => {
                let key = object.key();
                if key.kind == ObjectKind::LoadBalancingPolicy {
                    self.coming.set(&key, asked_by(&object));
                    self.waiting.insert(key, object);
                    return;
                }
                if key.kind == ObjectKind::Service {
                    self.demand.set(&key, asked_by(&object));
                }
                self.changes.push(ObjectChange::Upsert(object));
            }
            ObjectChange::Delete(key) => {
                self.demand.set(&key, BTreeSet::new());
                self.coming.set(&key, BTreeSet::new());
                self.waiting.remove(&key);
                self.changes.push(ObjectChange::Delete(key));
            }
        }
    }

    /// Which watches follow from what is known now.
    pub(super) fn watches(&mut self) -> Watches {
        // A policy is told before what only its version before has asked for is forgotten.
        self.tell_settled();
        let demand = self.demand.scopes().chain(self.coming.scopes());
        let wanted: BTreeSet<_> = demand.cloned().chain(Scope::FIXED).collect();
        let begin: Vec<_> = wanted.iter().filter(|scope| !self.scopes.contains_key(scope)).cloned().collect();
        let end: Vec<_> = self.scopes.keys().filter(|scope| !wanted.contains(scope)).cloned().collect();
        for scope in &end {
            self.failures.remove(scope);
            self.changes.extend(self.scopes.remove(scope).into_iter().flat_map(Known::forget));
        }
        self.scopes.extend(begin.iter().map(|scope| (scope.clone(), Known::default())));
        Watches { begin, end }
    }

    /// What is to be told now, if anything is. Nothing is before the cluster has been read once: Services without their slices
    /// would look as if they had no endpoints.
    pub(super) fn update(&mut self) -> Option<SourceUpdate> {
        self.tell_settled();
        let is_first = !self.is_ready;
        self.is_ready = self.is_ready
            || self.scopes.iter().all(
                |(scope, known)| {
                    if scope.is_essential() { known.is_complete() } else { known.is_settled() }
                },
            );
        if !self.is_ready {
            return None;
        }
        let problems: Vec<_> = self.problems().collect();
        if !is_first && self.changes.is_empty() && self.told_problems.as_ref() == Some(&problems) {
            return None;
        }
        self.told_problems = Some(problems.clone());
        Some(SourceUpdate { changes: std::mem::take(&mut self.changes), problems })
    }

    /// Whether the cluster has been read once.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Tells the policies that need not wait any longer.
    fn tell_settled(&mut self) {
        let may_go: Vec<_> = self.waiting.keys().filter(|key| self.has_settled(key)).cloned().collect();
        for (key, policy) in may_go.into_iter().filter_map(|key| self.waiting.remove_entry(&key)) {
            self.coming.set(&key, BTreeSet::new());
            self.demand.set(&key, asked_by(&policy));
            self.changes.push(ObjectChange::Upsert(policy));
        }
    }

    /// Whether the ConfigMaps that a waiting policy names have been read, or cannot be.
    fn has_settled(&self, policy: &ObjectKey) -> bool {
        let config_maps = self.coming.of(policy).filter(|scope| matches!(scope, Scope::ConfigMap { .. }));
        config_maps.into_iter().all(|scope| self.scopes.get(scope).is_some_and(Known::is_settled))
    }

    /// What cannot be followed.
    fn problems(&self) -> impl Iterator<Item = Problem> {
        self.failures.iter().map(|(scope, reason)| {
            let reason = format!("cannot be followed, what is known of it stays as it is: {reason}");
            Problem { object: None, place: Place::Field(scope.to_string()), reason }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use serde_json::json;

    use super::*;
    use crate::{
        source::kube::event::Seen,
        translate::policy::{ConfigMap, PolicyObject},
    };

    fn metadata(name: &str) -> ObjectMeta {
        ObjectMeta { namespace: Some("shop".to_owned()), name: Some(name.to_owned()), ..ObjectMeta::default() }
    }

    fn seen(object: Object) -> Seen {
        Seen { key: object.key(), version: "1".to_owned(), object: Some(object) }
    }

    fn service(name: &str) -> Object {
        Object::Service(Arc::new(Service { metadata: metadata(name), ..Service::default() }))
    }

    fn policy() -> Object {
        policy_from("modules")
    }

    fn policy_from(config_map: &str) -> Object {
        let policy = serde_json::from_value(json!({
            "metadata": { "name": "own", "namespace": "shop" },
            "spec": {
                "targetRefs": [{ "kind": "Service", "name": "web" }],
                "type": "Wasm",
                "wasm": { "source": { "configMapKeyRef": { "name": config_map, "key": "own.wasm" } } },
            },
        }));
        Object::LoadBalancingPolicy(Arc::new(PolicyObject::new(policy.unwrap())))
    }

    fn config_map_scope() -> Scope {
        scope_of("modules")
    }

    fn scope_of(config_map: &str) -> Scope {
        Scope::ConfigMap { namespace: "shop".to_owned(), name: config_map.to_owned() }
    }

    fn config_map() -> Object {
        config_map_of("modules")
    }

    fn config_map_of(name: &str) -> Object {
        let (text, binary) = Default::default();
        Object::ConfigMap(Arc::new(ConfigMap { metadata: metadata(name), text, binary }))
    }

    fn failed(reason: &str) -> Event {
        Event::Failed { reason: reason.to_owned(), is_final: true }
    }

    fn list(cluster: &mut Cluster, scope: &Scope, objects: Vec<Object>) {
        cluster.take(scope, Event::ListBegins);
        objects.into_iter().for_each(|object| cluster.take(scope, Event::Listed(seen(object))));
        cluster.take(scope, Event::ListEnds);
    }

    /// A cluster that has been read, with nothing in it.
    fn empty() -> Cluster {
        let mut cluster = Cluster::new();
        Scope::FIXED.iter().for_each(|scope| list(&mut cluster, scope, Vec::new()));
        assert_eq!(cluster.update(), Some(SourceUpdate::default()), "that there is nothing is told as well");
        cluster
    }

    fn kinds(update: Option<SourceUpdate>) -> Vec<String> {
        let changes = update.map_or_else(Vec::new, |update| update.changes);
        let shown = changes.iter().map(|change| match change {
            ObjectChange::Upsert(object) => format!("+{}", object.kind()),
            ObjectChange::Delete(key) => format!("-{}", key.kind),
        });
        shown.collect()
    }

    #[test]
    fn nothing_is_told_before_services_and_slices_have_been_read() {
        let mut cluster = Cluster::new();
        list(&mut cluster, &Scope::Services, vec![service("web")]);
        cluster.take(&Scope::Nodes, failed("forbidden"));
        cluster.take(&Scope::Policies, failed("no such resource"));
        cluster.take(&Scope::EndpointSlices, failed("closed"));
        assert_eq!(cluster.update(), None);
        list(&mut cluster, &Scope::EndpointSlices, Vec::new());
        let update = cluster.update().unwrap();
        assert_eq!((update.changes.len(), update.problems.len()), (1, 2));
    }

    #[test]
    fn a_failure_is_a_problem_until_the_watch_goes_on() {
        let mut cluster = empty();
        cluster.take(&Scope::Services, failed("refused"));
        cluster.take(&Scope::Services, failed("refused"));
        assert_eq!(cluster.update().unwrap().problems.len(), 1);
        assert_eq!(cluster.update(), None, "said once");
        cluster.take(&Scope::Services, Event::Applied(seen(service("web"))));
        assert_eq!(cluster.update().unwrap().problems, []);
    }

    #[test]
    fn a_policy_waits_for_the_config_map_that_it_names() {
        let mut cluster = empty();
        cluster.take(&Scope::Policies, Event::Applied(seen(policy())));
        assert_eq!(cluster.update(), None);
        let pods = Scope::Pods { namespace: "shop".to_owned() };
        assert_eq!(cluster.watches().begin, [config_map_scope(), pods.clone()]);
        assert_eq!(cluster.update(), None);
        list(&mut cluster, &config_map_scope(), vec![config_map()]);
        assert_eq!(kinds(cluster.update()), ["+ConfigMap", "+LoadBalancingPolicy"]);
        cluster.take(&Scope::Policies, Event::Deleted(policy().key()));
        assert_eq!(cluster.watches().end, [config_map_scope(), pods]);
        assert_eq!(kinds(cluster.update()), ["-LoadBalancingPolicy", "-ConfigMap"]);
    }

    fn versioned(version: &str, policy: Object) -> Event {
        Event::Applied(Seen { version: version.to_owned(), ..seen(policy) })
    }

    #[test]
    fn a_policy_that_names_another_config_map_keeps_the_one_before_until_that_has_been_read() {
        let mut cluster = empty();
        cluster.take(&Scope::Policies, Event::Applied(seen(policy())));
        cluster.watches();
        list(&mut cluster, &config_map_scope(), vec![config_map()]);
        cluster.watches();
        assert_eq!(kinds(cluster.update()), ["+ConfigMap", "+LoadBalancingPolicy"]);

        // It changes its mind twice before anything has been read.
        cluster.take(&Scope::Policies, versioned("2", policy_from("second")));
        assert_eq!(cluster.watches(), Watches { begin: vec![scope_of("second")], end: Vec::new() });
        assert_eq!(cluster.update(), None);
        cluster.take(&Scope::Policies, versioned("3", policy_from("third")));
        assert_eq!(cluster.watches(), Watches { begin: vec![scope_of("third")], end: vec![scope_of("second")] });
        assert_eq!(cluster.update(), None);

        list(&mut cluster, &scope_of("third"), vec![config_map_of("third")]);
        assert_eq!(cluster.watches(), Watches { begin: Vec::new(), end: vec![config_map_scope()] });
        assert_eq!(kinds(cluster.update()), ["+ConfigMap", "+LoadBalancingPolicy", "-ConfigMap"]);
    }

    #[test]
    fn a_policy_that_goes_while_its_next_version_waits_asks_for_nothing() {
        let mut cluster = empty();
        cluster.take(&Scope::Policies, Event::Applied(seen(policy())));
        cluster.watches();
        cluster.take(&config_map_scope(), failed("forbidden"));
        cluster.watches();
        cluster.take(&Scope::Policies, versioned("2", policy_from("second")));
        cluster.watches();
        cluster.take(&Scope::Policies, Event::Deleted(policy().key()));
        let pods = Scope::Pods { namespace: "shop".to_owned() };
        assert_eq!(cluster.watches().end, [config_map_scope(), scope_of("second"), pods]);
    }

    #[test]
    fn a_policy_does_not_wait_for_what_cannot_be_read() {
        let mut cluster = empty();
        cluster.take(&Scope::Policies, Event::Applied(seen(policy())));
        cluster.watches();
        cluster.take(&config_map_scope(), failed("forbidden"));
        assert_eq!(kinds(cluster.update()), ["+LoadBalancingPolicy"]);
    }

    #[test]
    fn what_was_missed_is_one_change() {
        let mut cluster = empty();
        list(&mut cluster, &Scope::Services, vec![service("a"), service("b")]);
        cluster.update();
        cluster.take(&Scope::Services, Event::ListBegins);
        cluster.take(&Scope::Services, Event::Listed(seen(service("c"))));
        assert_eq!(cluster.update(), None);
        cluster.take(&Scope::Services, Event::ListEnds);
        assert_eq!(kinds(cluster.update()), ["-Service", "-Service", "+Service"]);
    }
}

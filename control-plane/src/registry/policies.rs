//! The policies as they are now, and for those that are not well, as they were when they last were.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use wasmesh_core::{
    name::ServiceName,
    policy::{PortPolicy, Trial, WasmPolicy},
};

use crate::{
    afar::{
        Fetched, Remote, Wanted,
        credentials::{PullSecret, SecretName},
        secrets::FolderSecrets,
    },
    policies::trials::{Abort, Aborts},
    translate::{
        ObjectKey, ObjectKind,
        policy::{
            Attached, Attachment, Claimant, ConfigMap, Fault, Grants, Module, PolicyObject, PolicyStatus, Resolved,
            Serving, Subject, Surroundings, Target, ancestors::AbortedCandidate, resolve,
        },
    },
};

/// All policies.
#[derive(Debug, Default)]
pub(super) struct Policies {
    grants: Grants,
    entries: BTreeMap<ObjectKey, Entry>,
    /// The ConfigMaps, by namespace and name.
    config_maps: HashMap<(String, String), Arc<ConfigMap>>,
    /// The policies that ask for a Service, whether there is one or not.
    by_service: HashMap<ServiceName, BTreeSet<ObjectKey>>,
    aborts: Aborts,
    /// What is known of modules from afar.
    fetched: Fetched,
    /// The Secrets that the source has given.
    secrets: FolderSecrets,
}

/// One policy.
#[derive(Debug)]
struct Entry {
    object: Arc<PolicyObject>,
    /// The last version that was well: what serves.
    effective: Option<Arc<Resolved>>,
    /// Whether that lacks the candidate that it was declared with.
    is_partial: bool,
    /// Whether that is an earlier version of the object.
    is_earlier: bool,
    /// What is wrong with the present one.
    fault: Option<Fault>,
    /// Grows with each version of the object that means something else.
    revision: u64,
}

impl Policies {
    pub(super) fn new(grants: Grants) -> Self {
        Self { grants, ..Self::default() }
    }

    /// Takes a policy in, or forgets it. The Services that it bears on join `touched`.
    pub(super) fn set(
        &mut self,
        key: &ObjectKey,
        object: Option<Arc<PolicyObject>>,
        touched: &mut BTreeSet<ServiceName>,
    ) {
        match object {
            Some(object) => {
                let before = self.entries.remove(key);
                let is_the_same = before.as_ref().is_some_and(|before| differ_in_status_only(&before.object, &object));
                let was_aborted = before.as_ref().and_then(|before| before.aborted()).cloned();
                let entry = match before {
                    Some(before) => Entry { object, revision: before.revision + u64::from(!is_the_same), ..before },
                    None => Entry {
                        object,
                        effective: None,
                        is_partial: false,
                        is_earlier: false,
                        fault: None,
                        revision: 1,
                    },
                };
                if let Some(effective) = entry.effective.as_ref().filter(|_| was_aborted.as_ref() != entry.aborted()) {
                    touched.extend(services(key, effective));
                }
                self.entries.insert(key.clone(), entry);
                // Every status that is written comes back; what serves does not depend on it.
                if !is_the_same {
                    self.refresh(key, touched);
                }
            }
            None => {
                if let Some(Entry { effective: Some(gone), .. }) = self.entries.remove(key) {
                    self.unlink(key, &gone, touched);
                }
            }
        }
    }

    /// Takes a ConfigMap in, or forgets it.
    pub(super) fn set_config_map(
        &mut self,
        key: &ObjectKey,
        config_map: Option<Arc<ConfigMap>>,
        touched: &mut BTreeSet<ServiceName>,
    ) {
        let place = (key.namespace.clone(), key.name.clone());
        match config_map {
            Some(config_map) => self.config_maps.insert(place, config_map),
            None => self.config_maps.remove(&place),
        };
        let names_it = |entry: &Entry| entry.object.config_map_names().any(|name| name == key.name);
        let dependants =
            self.entries.iter().filter(|(policy, entry)| policy.namespace == key.namespace && names_it(entry));
        let dependants: Vec<_> = dependants.map(|(policy, _)| policy.clone()).collect();
        for policy in dependants {
            self.refresh(&policy, touched);
        }
    }

    /// Takes a Secret in, or forgets it. Whoever could not fetch a module without it tries again anyway.
    pub(super) fn set_secret(&mut self, key: &ObjectKey, secret: Option<Arc<PullSecret>>) {
        let name = SecretName { namespace: key.namespace.clone(), name: key.name.clone() };
        match secret {
            Some(secret) => self.secrets.insert(name, secret),
            None => self.secrets.remove(&name),
        };
    }

    /// Takes over what is known of modules from afar.
    pub(super) fn set_fetched(&mut self, fetched: Fetched, touched: &mut BTreeSet<ServiceName>) {
        if fetched == self.fetched {
            return;
        }
        let before = std::mem::replace(&mut self.fetched, fetched);
        let has_news =
            |entry: &Entry| entry.object.remotes().any(|remote| before.get(&remote) != self.fetched.get(&remote));
        let dependants = self.entries.iter().filter(|(_, entry)| has_news(entry));
        let dependants: Vec<_> = dependants.map(|(policy, _)| policy.clone()).collect();
        for policy in dependants {
            self.refresh(&policy, touched);
        }
    }

    /// The modules from afar that policies name and may have, each with the versions of objects that name it. Those that serve are among
    /// them, though the object names others by now: they take up memory for as long, and who goes back to them need not wait.
    pub(super) fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        for (key, entry) in &self.entries {
            let is_allowed = |remote: &Remote| remote.refusal(&self.grants.modules).is_none();
            let serving = entry.effective.iter().flat_map(|effective| effective.remotes.iter().cloned());
            for remote in entry.object.remotes().filter(is_allowed).chain(serving) {
                wanted.entry(remote).or_default().insert((key.clone(), entry.revision));
            }
        }
        wanted
    }

    /// The Secrets that the source has given.
    pub(super) fn secrets(&self) -> &FolderSecrets {
        &self.secrets
    }

    /// Takes candidates back, and forgets that others have been.
    pub(super) fn set_aborts(&mut self, aborts: Aborts, touched: &mut BTreeSet<ServiceName>) {
        let before = std::mem::replace(&mut self.aborts, aborts);
        for key in before.keys().chain(self.aborts.keys()) {
            if before.get(key) != self.aborts.get(key)
                && let Some(effective) = self.entries.get(key).and_then(|entry| entry.effective.as_ref())
            {
                touched.extend(services(key, effective));
            }
        }
    }

    /// The policies that ask for a Service.
    pub(super) fn attached(&self, service: &ServiceName) -> Attached {
        let keys = self.by_service.get(service).into_iter().flatten();
        let entries = keys.filter_map(|key| Some((key, self.entries.get(key)?)));
        let attachments =
            entries.filter_map(|(key, entry)| Some(self.attachments(key, entry, service)?.collect::<Vec<_>>()));
        Attached::new(attachments.flatten().collect())
    }

    fn attachments(
        &self,
        key: &ObjectKey,
        entry: &Entry,
        service: &ServiceName,
    ) -> Option<impl Iterator<Item = Attachment>> {
        let effective = entry.effective.as_ref()?;
        let (policy, labels) = (self.published(key, entry, effective), Arc::new(effective.labels.clone()));
        let claimant = Claimant::of(&entry.object.policy.metadata);
        let mine = effective.usable_targets().filter(|target| target.name == service.name());
        Some(mine.map(move |target| Attachment {
            section: target.section_name.clone(),
            claimant: claimant.clone(),
            policy: policy.clone(),
            labels: Arc::clone(&labels),
        }))
    }

    /// What ports are given: without a candidate that has been taken back.
    fn published(&self, key: &ObjectKey, entry: &Entry, resolved: &Resolved) -> PortPolicy {
        match &resolved.policy {
            PortPolicy::Wasm(policy) if policy.trial.is_some() && self.abort(key, entry).is_some() => {
                PortPolicy::Wasm(Arc::new(WasmPolicy { trial: None, ..(**policy).clone() }))
            }
            policy => policy.clone(),
        }
    }

    /// Why the candidate of a policy has been taken back, if it has: by what is written, which holds at every replica and
    /// counts over all of them, or by what this one has seen.
    fn abort(&self, key: &ObjectKey, entry: &Entry) -> Option<Abort> {
        let trial = entry.trial()?;
        let written = entry.aborted().filter(|aborted| aborted.hash == trial.version().to_string());
        let written = written.map(|AbortedCandidate { faults, proxies, .. }| Abort {
            trial: trial.clone(),
            faults: faults.clone(),
            proxies: *proxies,
        });
        written.or_else(|| self.aborts.get(key).filter(|abort| abort.trial == *trial).cloned())
    }

    /// Every module that something in effect names.
    pub(super) fn modules(&self) -> Vec<Module> {
        let effective = self.entries.values().filter_map(|entry| entry.effective.as_ref());
        effective.flat_map(|resolved| resolved.modules.iter().cloned()).collect()
    }

    /// The candidates that are declared by what is in effect, taken back or not.
    pub(super) fn trials(&self) -> impl Iterator<Item = (&ObjectKey, &Trial)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key, entry.trial()?)))
    }

    /// What has become of every policy.
    pub(super) fn statuses<'a>(&self, target: impl Fn(&ServiceName) -> Target<'a>) -> Vec<PolicyStatus> {
        let statuses = self.entries.iter().map(|(key, entry)| {
            let serving = entry.effective.as_ref().map(|effective| Serving {
                policy: self.published(key, entry, effective),
                trial: entry.trial().cloned(),
                is_earlier: entry.is_earlier,
            });
            let targets = match &entry.effective {
                Some(effective) => &effective.targets,
                None => &entry.object.policy.spec.target_refs,
            };
            let abort = self.abort(key, entry);
            let subject = Subject {
                object: key,
                metadata: &entry.object.policy.metadata,
                serving,
                fault: entry.fault.as_ref(),
                targets,
                abort: abort.as_ref(),
                written: entry.object.policy.status.clone().map(Arc::new),
            };
            PolicyStatus::of(&subject, &target)
        });
        statuses.collect()
    }

    /// Resolves a policy anew. What serves changes only if that succeeds; but if only its candidate cannot be had, and no version before
    /// could go on whole, as after a restart, the policy serves without.
    fn refresh(&mut self, key: &ObjectKey, touched: &mut BTreeSet<ServiceName>) {
        let Some(mut entry) = self.entries.remove(key) else { return };
        let config_map = |name: &str| self.config_maps.get(&(key.namespace.clone(), name.to_owned())).cloned();
        let afar = |remote: &Remote| self.fetched.get(remote).cloned();
        let surroundings = Surroundings { config_map: &config_map, grants: &self.grants, afar: &afar };
        let (resolved, fault) = match resolve(&entry.object, &surroundings) {
            Ok(resolved) => (Some(resolved), None),
            Err(fault) => {
                let may_be_partial = (entry.effective.is_none() || entry.is_partial) && fault.accepted.is_none();
                let rest = entry.object.without_candidate().filter(|_| may_be_partial);
                (rest.and_then(|rest| resolve(&rest, &surroundings).ok()), Some(fault))
            }
        };
        entry.is_earlier = resolved.is_none();
        entry.fault = fault;
        if let Some(resolved) = resolved {
            entry.is_partial = entry.fault.is_some();
            if let Some(before) = entry.effective.replace(Arc::new(resolved)) {
                self.unlink(key, &before, touched);
            }
        }
        if let Some(effective) = &entry.effective {
            self.link(key, effective, touched);
        }
        self.entries.insert(key.clone(), entry);
    }

    fn link(&mut self, key: &ObjectKey, resolved: &Resolved, touched: &mut BTreeSet<ServiceName>) {
        for service in services(key, resolved) {
            self.by_service.entry(service.clone()).or_default().insert(key.clone());
            touched.insert(service);
        }
    }

    fn unlink(&mut self, key: &ObjectKey, resolved: &Resolved, touched: &mut BTreeSet<ServiceName>) {
        for service in services(key, resolved) {
            if let Some(policies) = self.by_service.get_mut(&service) {
                policies.remove(key);
                if policies.is_empty() {
                    self.by_service.remove(&service);
                }
            }
            touched.insert(service);
        }
    }
}

impl Entry {
    fn trial(&self) -> Option<&Trial> {
        self.effective.as_ref()?.policy.wasm()?.trial.as_ref()
    }

    /// The candidate that is written down as taken back.
    fn aborted(&self) -> Option<&AbortedCandidate> {
        self.object.policy.status.as_ref()?.aborted_candidate.as_ref()
    }
}

/// The Services that a policy asks for.
fn services(key: &ObjectKey, resolved: &Resolved) -> Vec<ServiceName> {
    debug_assert_eq!(key.kind, ObjectKind::LoadBalancingPolicy);
    let targets = resolved.usable_targets();
    targets.filter_map(|target| ServiceName::new(&key.namespace, &target.name).ok()).collect()
}

/// Whether two versions of an object mean the same.
fn differ_in_status_only(before: &PolicyObject, now: &PolicyObject) -> bool {
    let is_same_policy = before.policy.metadata == now.policy.metadata && before.policy.spec == now.policy.spec;
    is_same_policy && before.files == now.files
}

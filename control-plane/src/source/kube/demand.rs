//! Which scopes are watched because objects ask for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::scope::Scope;
use crate::translate::{Object, ObjectKey, POLICY};

/// Who asks for what.
#[derive(Debug, Default)]
pub(super) struct Demand {
    by: HashMap<ObjectKey, BTreeSet<Scope>>,
    counts: BTreeMap<Scope, usize>,
}

impl Demand {
    /// Notes what an object asks for from now on.
    pub(super) fn set(&mut self, key: &ObjectKey, asks: BTreeSet<Scope>) {
        for scope in &asks {
            *self.counts.entry(scope.clone()).or_default() += 1;
        }
        let before = if asks.is_empty() { self.by.remove(key) } else { self.by.insert(key.clone(), asks) };
        for scope in before.into_iter().flatten() {
            if let Some(count) = self.counts.get_mut(&scope) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&scope);
                }
            }
        }
    }

    /// What an object asks for.
    pub(super) fn of(&self, key: &ObjectKey) -> impl Iterator<Item = &Scope> {
        self.by.get(key).into_iter().flatten()
    }

    /// Everything that is asked for.
    pub(super) fn scopes(&self) -> impl Iterator<Item = &Scope> {
        self.counts.keys()
    }
}

/// What an object asks for.
///
/// Labels, weights and priorities of pods matter where somebody chooses among pods with care: in namespaces that have a
/// policy. Watching the pods of all others would cost more than everything else together.
pub(super) fn asked_by(object: &Object) -> BTreeSet<Scope> {
    let namespace = || object.metadata().namespace.clone().unwrap_or_default();
    match object {
        Object::LoadBalancingPolicy(policy) => {
            let config_map = |name: &str| Scope::ConfigMap { namespace: namespace(), name: name.to_owned() };
            let config_maps = policy.config_map_names().map(config_map);
            config_maps.chain([Scope::Pods { namespace: namespace() }]).collect()
        }
        Object::Service(service) => {
            let annotations = service.metadata.annotations.as_ref();
            let has_policy = annotations.is_some_and(|annotations| annotations.contains_key(POLICY));
            has_policy.then(|| Scope::Pods { namespace: namespace() }).into_iter().collect()
        }
        Object::EndpointSlice(_) | Object::Pod(_) | Object::Node(_) | Object::ConfigMap(_) | Object::Secret(_) => {
            BTreeSet::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::ObjectKind;

    fn pods(namespace: &str) -> Scope {
        Scope::Pods { namespace: namespace.to_owned() }
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey { kind: ObjectKind::Service, namespace: "shop".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn a_scope_is_wanted_as_long_as_anybody_asks() {
        let mut demand = Demand::default();
        demand.set(&key("a"), [pods("x"), pods("y")].into());
        demand.set(&key("b"), [pods("y")].into());
        demand.set(&key("a"), [pods("y")].into());
        assert_eq!(demand.scopes().collect::<Vec<_>>(), [&pods("y")]);
        demand.set(&key("b"), BTreeSet::new());
        assert_eq!(demand.scopes().count(), 1);
        demand.set(&key("a"), BTreeSet::new());
        assert_eq!((demand.scopes().count(), demand.by.len()), (0, 0));
    }
}

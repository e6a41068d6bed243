//! Which objects of a scope are known, and what an event changes about that.

use std::collections::HashMap;

use super::event::{Event, Seen};
use crate::{registry::ObjectChange, translate::ObjectKey};

/// The objects of one scope.
///
/// A list that is read anew replaces what was known when it is complete, and as one change: what has been deleted while
/// nobody looked is found by its absence, and half a list deletes nothing.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The version of each object, as the API server counts them.
    current: HashMap<ObjectKey, String>,
    arriving: Option<Arriving>,
    is_settled: bool,
    is_complete: bool,
}

/// A list that is being read.
#[derive(Debug, Default)]
struct Arriving {
    versions: HashMap<ObjectKey, String>,
    changes: Vec<ObjectChange>,
}

impl Known {
    /// Takes an event in. What it changes joins `changes`.
    pub(super) fn take(&mut self, event: Event, changes: &mut Vec<ObjectChange>) {
        match event {
            Event::ListBegins => self.arriving = Some(Arriving::default()),
            Event::Listed(Seen { key, version, object }) => {
                let arriving = self.arriving.get_or_insert_default();
                if self.current.get(&key) != Some(&version)
                    && let Some(object) = object
                {
                    arriving.changes.push(ObjectChange::Upsert(object));
                }
                arriving.versions.insert(key, version);
            }
            Event::ListEnds => {
                let Arriving { versions, changes: mut new } = self.arriving.take().unwrap_or_default();
                let gone = self.current.keys().filter(|key| !versions.contains_key(*key));
                changes.extend(gone.cloned().map(ObjectChange::Delete));
                changes.append(&mut new);
                self.current = versions;
                self.is_complete = true;
                self.is_settled = true;
            }
            Event::Applied(Seen { key, version, object }) => {
                if self.current.get(&key) != Some(&version) {
                    self.current.insert(key, version);
                    changes.extend(object.map(ObjectChange::Upsert));
                }
            }
            Event::Deleted(key) => {
                self.current.remove(&key);
                changes.push(ObjectChange::Delete(key));
            }
            Event::Failed { is_final, .. } => {
                self.arriving = None;
                self.is_settled |= is_final;
            }
            Event::Works => {}
        }
    }

    /// What it means that nobody asks for the scope any more.
    pub(super) fn forget(self) -> impl Iterator<Item = ObjectChange> {
        self.current.into_keys().map(ObjectChange::Delete)
    }

    /// Whether all of it has been read once.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether all of it has been read once, or could not be.
    pub(super) fn is_settled(&self) -> bool {
        self.is_settled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Service;

    use super::*;
    use crate::translate::{Object, ObjectKind};

    fn key(name: &str) -> ObjectKey {
        ObjectKey { kind: ObjectKind::Service, namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn seen(name: &str, version: &str) -> Seen {
        let mut service = Service::default();
        service.metadata.namespace = Some("shop".to_owned());
        service.metadata.name = Some(name.to_owned());
        Seen { key: key(name), version: version.to_owned(), object: Some(Object::Service(Arc::new(service))) }
    }

    /// The names that events change: `+name` and `-name`, in order.
    fn take(known: &mut Known, events: Vec<Event>) -> Vec<String> {
        let mut changes = Vec::new();
        events.into_iter().for_each(|event| known.take(event, &mut changes));
        let mut shown: Vec<_> = changes
            .iter()
            .map(|change| match change {
                ObjectChange::Upsert(object) => format!("+{}", object.key().name),
                ObjectChange::Delete(key) => format!("-{}", key.name),
            })
            .collect();
        shown.sort();
        shown
    }

    fn failed(is_final: bool) -> Event {
        Event::Failed { reason: "forbidden".to_owned(), is_final }
    }

    fn list(names: &[(&str, &str)]) -> Vec<Event> {
        let listed = names.iter().map(|(name, version)| Event::Listed(seen(name, version)));
        std::iter::once(Event::ListBegins).chain(listed).chain([Event::ListEnds]).collect()
    }

    #[test]
    fn a_list_read_anew_tells_what_has_changed_and_what_is_gone() {
        let mut known = Known::default();
        assert_eq!(take(&mut known, list(&[("a", "1"), ("b", "1"), ("c", "1")])), ["+a", "+b", "+c"]);
        assert_eq!(take(&mut known, list(&[("a", "1"), ("b", "2"), ("d", "3")])), ["+b", "+d", "-c"]);
    }

    #[test]
    fn half_a_list_changes_nothing() {
        let mut known = Known::default();
        take(&mut known, list(&[("a", "1"), ("b", "1")]));
        let mut half = list(&[("a", "2")]);
        half.pop();
        half.push(failed(false));
        assert!(take(&mut known, half).is_empty());
        assert_eq!(take(&mut known, list(&[("a", "2"), ("b", "1")])), ["+a"]);
    }

    #[test]
    fn a_failure_settles_and_does_not_complete() {
        let mut known = Known::default();
        take(&mut known, vec![Event::ListBegins]);
        assert!(!known.is_settled());
        take(&mut known, vec![failed(false)]);
        assert!(!known.is_settled(), "it may be well in a moment");
        take(&mut known, vec![failed(true)]);
        assert!(known.is_settled() && !known.is_complete());
        take(&mut known, list(&[]));
        assert!(known.is_complete());
    }

    #[test]
    fn what_comes_twice_is_told_once() {
        let mut known = Known::default();
        take(&mut known, list(&[("a", "1")]));
        assert_eq!(take(&mut known, vec![Event::Applied(seen("a", "1")), Event::Applied(seen("a", "2"))]), ["+a"]);
        assert_eq!(take(&mut known, vec![Event::Deleted(key("a"))]), ["-a"]);
        assert!(known.forget().next().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_kept_as_it_was() {
        let mut known = Known::default();
        take(&mut known, list(&[("a", "1")]));
        let unreadable = |version: &str| Seen { object: None, ..seen("a", version) };
        assert!(take(&mut known, vec![Event::Applied(unreadable("2"))]).is_empty());
        let relist = vec![Event::ListBegins, Event::Listed(unreadable("2")), Event::ListEnds];
        assert!(take(&mut known, relist).is_empty());
        assert_eq!(take(&mut known, vec![Event::Deleted(key("a"))]), ["-a"]);
    }
}

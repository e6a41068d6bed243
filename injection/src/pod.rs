//! Reads what injection looks at in a pod.

use serde_json::Value;

use crate::{
    names::{DISABLED, ENABLED, INJECT_LABEL},
    reasons::Leave,
};

/// A pod, or the template of one, whose shape has been looked at as far as is needed to add to it.
pub(crate) struct Pod<'a> {
    /// As it was given.
    pub(crate) value: &'a Value,
}

/// What must be an object if it is there at all.
const OBJECTS: [&str; 5] = ["", "/metadata", "/metadata/annotations", "/metadata/labels", "/spec"];

/// What must be a list if it is there at all.
const LISTS: [&str; 3] = ["/spec/containers", "/spec/initContainers", "/spec/volumes"];

impl<'a> Pod<'a> {
    /// Looks at the shape of a pod.
    pub(crate) fn read(value: &'a Value) -> Result<Self, Leave> {
        let is_absent = |path: &str| value.pointer(path).is_none_or(Value::is_null);
        let objects = OBJECTS.iter().map(|path| (path, value.pointer(path).is_some_and(Value::is_object)));
        let lists = LISTS.iter().map(|path| (path, value.pointer(path).is_some_and(Value::is_array)));
        if let Some((path, _)) = objects.chain(lists).find(|(path, is_well)| !is_well && !is_absent(path)) {
            return Err(Leave::Malformed(path));
        }
        let pod = Self { value };
        if pod.list("/spec/containers").next().is_none() { Err(Leave::NoContainers) } else { Ok(pod) }
    }

    /// Whether it is to be meshed: its own label decides, otherwise its namespace.
    pub(crate) fn is_wanted(&self, opted_in: bool, warnings: &mut Vec<String>) -> bool {
        match self.text(&format!("/metadata/labels/{}", INJECT_LABEL.replace('/', "~1"))) {
            None => opted_in,
            Some(ENABLED) => true,
            Some(DISABLED) => false,
            Some(other) => {
                warnings.push(format!(
                    "label {INJECT_LABEL}: {other:?} means nothing and is ignored; write {ENABLED} or {DISABLED}"
                ));
                opted_in
            }
        }
    }

    /// A text in it.
    pub(crate) fn text(&self, path: &str) -> Option<&'a str> {
        self.value.pointer(path)?.as_str()
    }

    /// A yes in it.
    pub(crate) fn is_true(&self, path: &str) -> bool {
        self.value.pointer(path).and_then(Value::as_bool) == Some(true)
    }

    /// An annotation.
    pub(crate) fn annotation(&self, name: &str) -> Option<&'a str> {
        self.value.pointer("/metadata/annotations")?.get(name)?.as_str()
    }

    /// The items of a list; nothing if there is none.
    pub(crate) fn list(&self, path: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.value.pointer(path).and_then(Value::as_array).into_iter().flatten()
    }

    /// Init containers and others.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.list("/spec/initContainers").chain(self.list("/spec/containers"))
    }

    /// The user that a container runs as, as far as the pod says.
    pub(crate) fn user_of(&self, container: &Value) -> Option<i64> {
        let own = container.pointer("/securityContext/runAsUser").and_then(Value::as_i64);
        own.or_else(|| self.value.pointer("/spec/securityContext/runAsUser").and_then(Value::as_i64))
    }
}

/// The name of a container or a volume.
pub(crate) fn name(item: &Value) -> &str {
    item.get("name").and_then(Value::as_str).unwrap_or_default()
}

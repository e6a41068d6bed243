//! Additions to a JSON document, as a patch (RFC 6902) and applied.

use serde::Serialize;
use serde_json::{Map, Value};

/// One addition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Operation {
    op: &'static str,
    path: String,
    value: Value,
}

/// Additions, in order. As JSON it is what an AdmissionReview carries.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Patch(Vec<Operation>);

impl Patch {
    /// Begins one for a document.
    #[must_use]
    pub fn of(document: &Value) -> Builder {
        Builder { document: document.clone(), operations: Vec::new() }
    }

    /// The additions.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.0
    }
}

impl Operation {
    /// Where something is added: a JSON pointer (RFC 6901).
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// A patch that is being made, with the document as it is so far. Paths are JSON pointers to what is or will be a member
/// of an object.
pub struct Builder {
    document: Value,
    operations: Vec<Operation>,
}

impl Builder {
    /// Puts a member into the object at `path`; the object is made if there is none.
    pub fn member(&mut self, path: &str, name: &str, value: Value) {
        self.ensure(path, Value::Object(Map::new()));
        self.insert(path, name, value);
    }

    /// Puts items before all others of the list at `path`; the list is made if there is none.
    pub fn first(&mut self, path: &str, items: Vec<Value>) {
        self.ensure(path, Value::Array(Vec::new()));
        for (index, item) in items.into_iter().enumerate() {
            if let Some(Value::Array(list)) = self.document.pointer_mut(path) {
                list.insert(index, item.clone());
                self.added(format!("{path}/{index}"), item);
            }
        }
    }

    /// Puts an item behind all others of the list at `path`; the list is made if there is none.
    pub fn last(&mut self, path: &str, item: Value) {
        self.ensure(path, Value::Array(Vec::new()));
        if let Some(Value::Array(list)) = self.document.pointer_mut(path) {
            list.push(item.clone());
            self.added(format!("{path}/-"), item);
        }
    }

    /// The patch, and the document that it makes.
    #[must_use]
    pub fn finish(self) -> (Patch, Value) {
        (Patch(self.operations), self.document)
    }

    /// Makes what is at `path`, and the objects on the way, where nothing or null is.
    fn ensure(&mut self, path: &str, empty: Value) {
        if self.document.pointer(path).is_some_and(|there| !there.is_null()) {
            return;
        }
        if let Some((parent, name)) = path.rsplit_once('/') {
            self.ensure(parent, Value::Object(Map::new()));
            self.insert(parent, name, empty);
        }
    }

    fn insert(&mut self, parent: &str, name: &str, value: Value) {
        if let Some(Value::Object(members)) = self.document.pointer_mut(parent) {
            members.insert(name.to_owned(), value.clone());
            self.added(format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1")), value);
        }
    }

    fn added(&mut self, path: String, value: Value) {
        self.operations.push(Operation { op: "add", path, value });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Builder, Patch};

    #[track_caller]
    fn check(before: &Value, add: fn(&mut Builder), after: &Value, patch: &Value) {
        let mut builder = Patch::of(before);
        add(&mut builder);
        let (made, document) = builder.finish();
        assert_eq!((&document, &serde_json::to_value(&made).unwrap()), (after, patch));
    }

    #[test]
    fn what_is_missing_on_the_way_is_made() {
        check(
            &json!({ "a": null }),
            |patch| patch.member("/a/b", "x/y~z", json!(1)),
            &json!({ "a": { "b": { "x/y~z": 1 } } }),
            &json!([
                { "op": "add", "path": "/a", "value": {} },
                { "op": "add", "path": "/a/b", "value": {} },
                { "op": "add", "path": "/a/b/x~1y~0z", "value": 1 },
            ]),
        );
    }

    #[test]
    fn lists_grow_at_both_ends() {
        check(
            &json!({ "a": [3] }),
            |patch| {
                patch.first("/a", vec![json!(1), json!(2)]);
                patch.last("/a", json!(4));
                patch.last("/b", json!(5));
            },
            &json!({ "a": [1, 2, 3, 4], "b": [5] }),
            &json!([
                { "op": "add", "path": "/a/0", "value": 1 },
                { "op": "add", "path": "/a/1", "value": 2 },
                { "op": "add", "path": "/a/-", "value": 4 },
                { "op": "add", "path": "/b", "value": [] },
                { "op": "add", "path": "/b/-", "value": 5 },
            ]),
        );
    }
}

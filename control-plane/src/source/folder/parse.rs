//! From the text of a file to objects. Any text is fine: what is not understood becomes a problem with its line.

mod document;
mod kind;
mod list;
mod yaml;

use serde::Deserialize;
use serde_saphyr::Spanned;

use self::{
    document::{Document, documents},
    kind::{Wanted, namespace_or_default, wanted},
    list::read_list,
    yaml::Yaml,
};
use crate::translate::{Object, ObjectKey, ObjectKind};

/// What a file says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// The objects, in their order.
    pub objects: Vec<Located<Object>>,
    /// The documents and list items that are broken.
    pub problems: Vec<Located<Broken>>,
    /// There is nothing but blanks and comments.
    pub is_empty: bool,
}

/// Something and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The line, from 1.
    pub line: u64,
    /// The thing.
    pub value: T,
}

/// A document or list item that gives no object although it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The object it would be, as far as that can be told.
    pub object: Option<ObjectKey>,
    /// What is wrong.
    pub reason: String,
}

/// What an object says of its type.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    api_version: Option<String>,
    kind: Option<String>,
}

/// What an object says of its name.
#[derive(Debug, Deserialize)]
struct Head {
    metadata: Option<HeadMeta>,
}

#[derive(Debug, Deserialize)]
struct HeadMeta {
    name: Option<String>,
    namespace: Option<String>,
}

/// Parses the bytes of a file.
pub fn parse_bytes(bytes: &[u8]) -> Parsed {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count() as u64;
            let reason = "this is not UTF-8 text: save the file as UTF-8".to_owned();
            Parsed { problems: vec![Broken::at(line, reason)], ..Parsed::default() }
        }
    }
}

/// Parses YAML, which JSON is a part of: any number of documents, each an object or a list of objects.
///
/// Documents are read one by one, so that a broken one does not take its neighbours along.
pub fn parse(text: &str) -> Parsed {
    let documents = documents(text);
    let mut parsed = Parsed { is_empty: documents.is_empty(), ..Parsed::default() };
    for document in documents {
        if let Err(broken) = read_document(&document, &mut parsed) {
            parsed.problems.push(broken);
        }
    }
    parsed.problems.sort_by_key(|problem| problem.line);
    parsed
}

fn read_document(document: &Document<'_>, parsed: &mut Parsed) -> Result<(), Located<Broken>> {
    let yaml = Yaml::new(document);
    let types = yaml.read::<Option<Spanned<TypeMeta>>>();
    let Some(types) = types.map_err(|broken| broken.taken_for("a Kubernetes object"))? else {
        return Ok(());
    };
    let line = yaml.line(types.referenced);
    match wanted(types.value.api_version.as_deref(), types.value.kind.as_deref()) {
        Ok(None) => Ok(()),
        Ok(Some(Wanted::Object(kind))) => {
            parsed.objects.push(Located { line, value: read_object(&yaml, line, kind)? });
            Ok(())
        }
        Ok(Some(Wanted::ListOf(kind))) => read_list(&yaml, kind, parsed),
        Err(reason) => Err(Broken::at(line, reason)),
    }
}

fn read_object(yaml: &Yaml<'_>, line: u64, kind: ObjectKind) -> Result<Object, Located<Broken>> {
    let object = yaml.read_with(|deserializer| kind::read(kind, deserializer)).map_err(|broken| {
        let head = yaml.read::<Head>().ok();
        broken.taken_for(&format!("a valid {kind}")).names(head.and_then(|head| head.metadata?.key(kind)))
    })?;
    kind::complete(object).map_err(|reason| Broken::at(line, reason))
}

impl Broken {
    fn at(line: u64, reason: String) -> Located<Self> {
        Located { line, value: Self { object: None, reason } }
    }
}

impl Located<Broken> {
    /// Says what the text was taken for.
    fn taken_for(mut self, what: &str) -> Self {
        self.value.reason = format!("not {what}: {}", self.value.reason);
        self
    }

    /// Says which object it is about.
    fn names(mut self, object: Option<ObjectKey>) -> Self {
        self.value.object = object;
        self
    }
}

impl HeadMeta {
    /// The name of the object, if it has one.
    fn key(&self, kind: ObjectKind) -> Option<ObjectKey> {
        let name = self.name.clone().filter(|name| !name.is_empty())?;
        let namespace = if kind.is_namespaced() { namespace_or_default(self.namespace.clone()) } else { String::new() };
        Some(ObjectKey { kind, namespace, name })
    }
}

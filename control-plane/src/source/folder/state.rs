//! The last good state of a folder, and what a scan changes about it.
//!
//! A file with a broken document keeps what it gave before and no longer gives now, until it is mended or deleted: half
//! of an edit must not take a Service away. An empty file is such a half, of an edit that has only begun.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    modules::ModuleRead,
    parse::{Located, Parsed},
    scan::{FileRead, Scan},
};
use crate::{
    registry::ObjectChange,
    source::SourceUpdate,
    translate::{Object, ObjectKey, ObjectKind, Place, Problem, policy::PolicyObject},
};

const EMPTY: &str = "the file is empty: delete it to remove its objects";

/// How many kept objects a problem names.
const MAX_NAMED: usize = 5;

/// What is known of a folder.
#[derive(Debug, Default)]
pub struct FolderState {
    files: BTreeMap<PathBuf, File>,
    current: BTreeMap<ObjectKey, Object>,
}

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    objects: Vec<Located<Object>>,
    /// What it gave before, while its present state is not trusted.
    kept: Vec<Located<Object>>,
    problems: Vec<Problem>,
}

impl FolderState {
    /// Takes a scan in, and tells what changed and what is wrong. `read` reads the file that an object in a manifest names:
    /// a policy is another one when its module is.
    pub fn reconcile(&mut self, scan: Scan, mut read: impl FnMut(&Path, &str) -> ModuleRead) -> SourceUpdate {
        let Scan { mut files, unlisted } = scan;
        self.files.retain(|path, _| files.contains_key(path) || unlisted.iter().any(|(dir, _)| path.starts_with(dir)));
        let mut problems: Vec<_> = unlisted.into_iter().map(|(dir, reason)| self.unlisted(dir, reason)).collect();
        while let Some((path, read)) = files.pop_first() {
            let before = self.files.remove(&path).unwrap_or_default();
            let now = match read {
                FileRead::Unchanged => before,
                FileRead::Missing => before.missing(),
                FileRead::Parsed(parsed) if parsed.is_empty && before.gives_something() => {
                    before.unreadable(&path, EMPTY.to_owned())
                }
                FileRead::Parsed(parsed) => before.parsed(&path, parsed),
                FileRead::Unreadable(reason) => before.unreadable(&path, reason),
            };
            self.files.insert(path, now);
        }
        problems.extend(self.files.values().flat_map(|file| file.problems.iter().cloned()));
        let next = self.merge(&mut problems, &mut read);
        let changes = changes(&self.current, &next);
        self.current = next;
        SourceUpdate { changes, problems }
    }

    fn unlisted(&self, dir: PathBuf, reason: String) -> Problem {
        let below = self.files.iter().filter(|(path, _)| path.starts_with(&dir));
        let kept = below.flat_map(|(_, file)| file.objects.iter().chain(&file.kept)).map(|found| found.value.key());
        let reason = with_kept(reason, &kept.collect());
        Problem { object: None, place: Place::File { path: dir, line: None }, reason }
    }

    /// One object per name: what is there now before what was kept, then the first in path order.
    fn merge(
        &self,
        problems: &mut Vec<Problem>,
        read: &mut impl FnMut(&Path, &str) -> ModuleRead,
    ) -> BTreeMap<ObjectKey, Object> {
        let mut found: BTreeMap<ObjectKey, (Place, &Path, &Object)> = BTreeMap::new();
        for (path, object) in self.files.iter().flat_map(|(path, file)| file.objects.iter().map(move |o| (path, o))) {
            let place = place(path, Some(object.line));
            match found.entry(object.value.key()) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert((place, path, &object.value));
                }
                btree_map::Entry::Occupied(first) => {
                    let reason = format!("the same object is at {}, and that one counts: remove one", first.get().0);
                    problems.push(Problem { object: Some(first.key().clone()), place, reason });
                }
            }
        }
        for (path, object) in self.files.iter().flat_map(|(path, file)| file.kept.iter().map(move |o| (path, o))) {
            found.entry(object.value.key()).or_insert_with(|| (place(path, None), path, &object.value));
        }
        let named = named(found.values().map(|(_, _, object)| *object));
        found.retain(|key, _| {
            let is_ours_if_named = matches!(key.kind, ObjectKind::ConfigMap | ObjectKind::Secret);
            !is_ours_if_named || named.contains(&(key.kind, key.namespace.as_str(), key.name.as_str()))
        });
        found.into_iter().map(|(key, (_, path, object))| (key, with_files(object, path, read))).collect()
    }
}

impl File {
    fn parsed(self, path: &Path, parsed: Parsed) -> Self {
        let mut kept = Vec::new();
        if !parsed.problems.is_empty() {
            let given: BTreeSet<_> = parsed.objects.iter().map(|object| object.value.key()).collect();
            kept.extend(self.objects);
            kept.extend(self.kept);
            kept.retain(|object| !given.contains(&object.value.key()));
        }
        let names = kept.iter().map(|object| object.value.key()).collect();
        let problems = parsed.problems.into_iter().map(|broken| Problem {
            object: broken.value.object,
            place: place(path, Some(broken.line)),
            reason: with_kept(broken.value.reason, &names),
        });
        Self { problems: problems.collect(), objects: parsed.objects, kept }
    }

    fn gives_something(&self) -> bool {
        !self.objects.is_empty() || !self.kept.is_empty()
    }

    /// What it gave stays, but any other file may have it: perhaps this one was renamed.
    fn missing(mut self) -> Self {
        self.objects.append(&mut self.kept);
        Self { objects: Vec::new(), kept: self.objects, problems: Vec::new() }
    }

    fn unreadable(self, path: &Path, reason: String) -> Self {
        let mut kept = self.objects;
        kept.extend(self.kept);
        let reason = with_kept(reason, &kept.iter().map(|object| object.value.key()).collect());
        Self { objects: Vec::new(), kept, problems: vec![Problem { object: None, place: place(path, None), reason }] }
    }
}

/// Kind, namespace and name of every ConfigMap and Secret that a policy names. The others are no business of ours.
fn named<'a>(objects: impl Iterator<Item = &'a Object>) -> BTreeSet<(ObjectKind, &'a str, &'a str)> {
    let policies = objects.filter_map(|object| match object {
        Object::LoadBalancingPolicy(policy) => Some(&**policy),
        _ => None,
    });
    let all = policies.flat_map(|object| {
        let namespace = object.policy.metadata.namespace.as_deref().unwrap_or_default();
        let config_maps = object.config_map_names().map(move |name| (ObjectKind::ConfigMap, namespace, name));
        config_maps.chain(object.secret_names().map(move |name| (ObjectKind::Secret, namespace, name)))
    });
    all.collect()
}

/// The object with the files that it names, if it is of a kind that names some.
fn with_files(object: &Object, manifest: &Path, read: &mut impl FnMut(&Path, &str) -> ModuleRead) -> Object {
    let Object::LoadBalancingPolicy(policy) = object else { return object.clone() };
    let files = policy.file_names().map(|name| (name.to_owned(), read(manifest, name))).collect();
    Object::LoadBalancingPolicy(Arc::new(PolicyObject { policy: policy.policy.clone(), files }))
}

fn place(path: &Path, line: Option<u64>) -> Place {
    Place::File { path: path.to_owned(), line }
}

fn with_kept(reason: String, kept: &BTreeSet<ObjectKey>) -> String {
    if kept.is_empty() {
        return reason;
    }
    let names: Vec<_> = kept.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = match kept.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{reason}; kept as before until this is mended: {}{more}", names.join(", "))
}

fn changes(before: &BTreeMap<ObjectKey, Object>, now: &BTreeMap<ObjectKey, Object>) -> Vec<ObjectChange> {
    let gone = before.keys().filter(|key| !now.contains_key(*key)).cloned().map(ObjectChange::Delete);
    let new = now.iter().filter(|(key, object)| before.get(*key) != Some(*object));
    gone.chain(new.map(|(_, object)| ObjectChange::Upsert(object.clone()))).collect()
}

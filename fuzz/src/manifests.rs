//! Manifests, from their bytes to what is published.

use wasmesh_control_plane::{
    registry::{ObjectChange, Registry},
    source::folder::parse::parse_bytes,
};

/// Whatever is in them, problems have words, and all that comes goes again.
pub(crate) fn read(bytes: &[u8]) {
    let parsed = parse_bytes(bytes);
    assert!(parsed.problems.iter().all(|problem| !problem.value.reason.is_empty()), "a problem without words");
    let objects: Vec<_> = parsed.objects.into_iter().map(|object| object.value).collect();
    let keys: Vec<_> = objects.iter().map(|object| ObjectChange::Delete(object.key())).collect();
    let mut registry = Registry::default();
    registry.apply(objects.into_iter().map(ObjectChange::Upsert).collect());
    drop(registry.snapshot());
    drop(registry.policies());
    registry.apply(keys);
    assert_eq!(registry.snapshot().iter().count(), 0, "something stays of objects that are gone");
}

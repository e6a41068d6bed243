//! The folder of manifests that a control plane reads.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::Service;

/// The file that [`Folder::put`] writes.
const FILE: &str = "mesh.json";

/// A folder of manifests; gone when dropped.
pub struct Folder {
    dir: TempDir,
}

impl Default for Folder {
    fn default() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes these all there is, in one write.
    pub fn put<'a>(&self, services: impl IntoIterator<Item = &'a Service>) {
        let items: Vec<_> = services.into_iter().flat_map(Service::objects).collect();
        self.write(FILE, &json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string());
    }

    /// Writes a file beside and renames it, so that nobody reads half of it.
    pub fn write(&self, name: &str, text: &str) {
        let aside = self.path().join(format!(".{name}.new"));
        fs::write(&aside, text).expect("a manifest");
        fs::rename(&aside, self.path().join(name)).expect("a manifest in its place");
    }
}

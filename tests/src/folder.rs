//! The folder of manifests that a control plane reads.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::{Policy, Service};

/// The file that [`Folder::put`] writes.
pub const MANIFEST: &str = "mesh.json";

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
        self.write(MANIFEST, &json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string());
    }

    /// Writes a policy and its modules, the modules first. One of the same name is replaced.
    pub fn put_policy(&self, policy: &Policy) {
        for (name, bytes) in policy.modules() {
            self.write_bytes(name, bytes);
        }
        self.write(&policy_file(policy.name()), &policy.object().to_string());
    }

    /// Takes a policy away; its modules stay.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove_policy(&self, name: &str) {
        fs::remove_file(self.path().join(policy_file(name))).expect("a policy that was put there");
    }

    /// Writes a file beside and renames it, so that nobody reads half of it.
    pub fn write(&self, name: &str, text: &str) {
        self.write_bytes(name, text.as_bytes());
    }

    /// The same with any content.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write_bytes(&self, name: &str, bytes: &[u8]) {
        let aside = self.path().join(format!(".{name}.new"));
        fs::write(&aside, bytes).expect("a manifest");
        fs::rename(&aside, self.path().join(name)).expect("a manifest in its place");
    }
}

fn policy_file(name: &str) -> String {
    format!("policy-{name}.json")
}

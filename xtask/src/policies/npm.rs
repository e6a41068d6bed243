//! The compilers that come from npm, in the versions that `plugins/policies/package-lock.json` says.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cargo::root;

/// The folder in which they are installed, when somebody first needs one; anew when the lock has changed.
pub(super) fn packages() -> Result<PathBuf> {
    let folder = root().join("target/policies-build/npm");
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        let (wanted, here) = (root().join("plugins/policies").join(file), folder.join(file));
        let wanted = fs::read(&wanted).with_context(|| wanted.display().to_string())?;
        if fs::read(&here).is_ok_and(|here| here == wanted) {
            continue;
        }
        fs::write(&here, wanted)?;
        match fs::remove_dir_all(folder.join("node_modules")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(folder)
}

//! Tells a startup probe that the application may start: its connections are captured, or it is known that they will not be.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::events;

/// A file that is there as soon as the application may start; no file if nobody asks.
#[derive(Debug)]
pub(super) struct ReadyFile(Option<PathBuf>);

impl ReadyFile {
    /// Nothing is ready yet, whatever a predecessor has left behind.
    pub(super) fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = path {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("--ready-file {} cannot be removed", path.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Self(path.map(Path::to_owned)))
    }

    /// The application may start.
    pub(super) fn mark(&self) {
        let Some(path) = &self.0 else { return };
        if let Err(error) = fs::write(path, "") {
            events::not_marked(path, &error);
        }
    }
}

/// Whether the file is there: what a probe asks.
///
/// # Errors
/// When it is not.
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        bail!("{} is not there: `capture run` has not installed the rules yet", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_predecessor_has_left_is_not_ready() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ready");
        fs::write(&path, "").unwrap();
        let ready = ReadyFile::new(Some(&path)).unwrap();
        assert!(check(&path).is_err());
        ready.mark();
        check(&path).unwrap();
        ReadyFile::new(None).unwrap().mark();
    }
}

//! Compiled modules on disk, so that a restart does not compile them again.
//!
//! A file is machine code that will be run, so only what this user wrote is read: the directory is the user's own and
//! closed to everybody else, and so is each file. The checksum in it finds what a crash or a bad disk left behind;
//! whatever is not right is as good as not there.

use std::{
    fs::{self, DirBuilder, File, Metadata},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::{
    fs::{Mode, OFlags},
    process::geteuid,
};
use wasmesh_core::policy::ModuleDigest;

use crate::compile::{Artefact, Calls};

/// The most files that are kept; beyond that the oldest goes.
const MAX_FILES: usize = 64;
const SUFFIX: &str = "artefact";

/// A directory of artefacts for one engine.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    compatibility: u64,
}

impl Cache {
    /// Opens a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made, or somebody else could have written into it.
    pub(crate) fn open(directory: PathBuf, compatibility: u64) -> Result<Self, String> {
        let told = |error: io::Error| format!("{}: {error}", directory.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(told)?;
        let metadata = fs::symlink_metadata(&directory).map_err(told)?;
        if !metadata.is_dir() || !is_private(&metadata) {
            let at = directory.display();
            return Err(format!("{at} is not a directory of uid {} with mode 0700", geteuid().as_raw()));
        }
        Ok(Self { directory, compatibility })
    }

    /// The artefact of a module, if it is there and as it was written.
    pub(crate) fn get(&self, digest: ModuleDigest, calls: Calls) -> Option<Artefact> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::open(self.path(digest, calls), flags, Mode::empty()).ok()?);
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || !is_private(&metadata) {
            return None;
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        file.read_to_end(&mut bytes).ok()?;
        Artefact::from_bytes(bytes, self.compatibility)
    }

    /// Keeps an artefact. Somebody who reads at the same time sees all of it or nothing.
    ///
    /// # Errors
    ///
    /// It could not be written. Nothing is lost but time.
    pub(crate) fn put(&self, digest: ModuleDigest, calls: Calls, artefact: &Artefact) -> io::Result<()> {
        // Made with mode 0600, under a name of its own.
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        artefact.write_to(&mut file, self.compatibility)?;
        file.persist(self.path(digest, calls))?;
        self.drop_oldest()
    }

    fn path(&self, digest: ModuleDigest, calls: Calls) -> PathBuf {
        let kind = match calls {
            Calls::DirectIfPossible => "",
            Calls::AsComponents => "-component",
        };
        self.directory.join(format!("{digest}-{:016x}{kind}.{SUFFIX}", self.compatibility))
    }

    fn drop_oldest(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if Path::new(&entry.file_name()).extension().is_some_and(|extension| extension == SUFFIX) {
                let modified = entry.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                files.push((modified, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(MAX_FILES);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// Whether only this user can have written it.
fn is_private(metadata: &Metadata) -> bool {
    metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o077 == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::compile::Machine;

    const DIGEST: ModuleDigest = ModuleDigest([7; 32]);
    const CALLS: Calls = Calls::DirectIfPossible;

    fn artefact() -> Artefact {
        Artefact { machine: Machine::Module(vec![1; 100]), why_component: None, has_feedback: true }
    }

    fn cache(directory: &tempfile::TempDir) -> Cache {
        Cache::open(directory.path().join("a/b"), 1).unwrap()
    }

    #[test]
    fn what_is_put_is_got_by_the_same_engine_only() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory);
        assert_eq!(cache.get(DIGEST, CALLS), None);
        cache.put(DIGEST, CALLS, &artefact()).unwrap();
        assert_eq!(cache.get(DIGEST, CALLS), Some(artefact()));
        assert_eq!(cache.get(DIGEST, Calls::AsComponents), None);
        assert_eq!(cache.get(ModuleDigest([8; 32]), CALLS), None);
        let other = Cache::open(directory.path().join("a/b"), 2).unwrap();
        assert_eq!(other.get(DIGEST, CALLS), None);
        let name = cache.path(DIGEST, CALLS).file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.starts_with("0707") && name.contains("-0000000000000001."), "{name}");
        assert_eq!(fs::metadata(cache.path(DIGEST, CALLS)).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_broken_or_could_be_a_strangers_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory);
        cache.put(DIGEST, CALLS, &artefact()).unwrap();
        let path = cache.path(DIGEST, CALLS);
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() - 1]).unwrap();
        assert_eq!(cache.get(DIGEST, CALLS), None);
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert_eq!(cache.get(DIGEST, CALLS), None);
        fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        symlink(directory.path().join("elsewhere"), &path).unwrap();
        assert_eq!(cache.get(DIGEST, CALLS), None);
        cache.put(DIGEST, CALLS, &artefact()).unwrap();
        assert_eq!(cache.get(DIGEST, CALLS), Some(artefact()), "and it is replaced");
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = Cache::open(directory.path().to_owned(), 1).unwrap_err();
        assert!(error.contains("0700"), "{error}");
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Cache::open(file, 1).is_err());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory);
        for number in 0..MAX_FILES as u8 + 5 {
            cache.put(ModuleDigest([number; 32]), CALLS, &artefact()).unwrap();
        }
        let kept = fs::read_dir(directory.path().join("a/b")).unwrap().count();
        assert_eq!(kept, MAX_FILES);
        assert_eq!(cache.get(ModuleDigest([MAX_FILES as u8 + 4; 32]), CALLS), Some(artefact()));
    }
}

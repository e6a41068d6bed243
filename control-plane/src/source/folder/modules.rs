//! Reads the modules that policies name as files, those that changed since the last time.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

use super::stamp::Stamp;
use crate::translate::policy::{FileFault, MAX_MODULE_BYTES, Module};

/// What came of a file.
pub type ModuleRead = Result<Module, FileFault>;

/// The module files of a folder, from one look to the next.
#[derive(Debug)]
pub struct ModuleFiles {
    root: PathBuf,
    before: HashMap<PathBuf, Known>,
    now: HashMap<PathBuf, Known>,
    /// Files that somebody is writing.
    busy: BTreeSet<PathBuf>,
}

#[derive(Debug, Clone)]
struct Known {
    /// `None` for what must be read again.
    stamp: Option<Stamp>,
    read: ModuleRead,
}

impl ModuleFiles {
    /// Those of this folder, of which nothing is known yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root, before: HashMap::new(), now: HashMap::new(), busy: BTreeSet::new() }
    }

    /// Begins another look. Files in `busy` are being written: they stay as they were. What is not read in this look is
    /// forgotten with the next.
    pub fn begin(&mut self, busy: BTreeSet<PathBuf>) {
        self.before = std::mem::take(&mut self.now);
        self.busy = busy;
    }

    /// Reads the file that an object in `manifest` calls `name`.
    ///
    /// # Errors
    /// When there is no such file in the folder, or it is no policy.
    pub fn read(&mut self, manifest: &Path, name: &str) -> ModuleRead {
        let path = locate(&self.root, manifest, name).map_err(FileFault::invalid)?;
        if let Some(known) = self.now.get(&path) {
            return known.read.clone();
        }
        let before = self.before.remove(&path);
        let known = match before {
            Some(before) if self.busy.contains(&path) => Known { stamp: None, ..before },
            before => self.look(&path, before),
        };
        let read = known.read.clone();
        self.now.insert(path, known);
        read
    }

    fn look(&self, path: &Path, before: Option<Known>) -> Known {
        self.try_look(path, before).unwrap_or_else(|fault| Known { stamp: None, read: Err(fault) })
    }

    fn try_look(&self, path: &Path, before: Option<Known>) -> Result<Known, FileFault> {
        let real = within(&self.root, path)?;
        let metadata = fs::metadata(&real).map_err(|error| FileFault::unreadable(&error))?;
        if !metadata.is_file() {
            return Err(FileFault::invalid("it is not a file"));
        }
        let stamp = Stamp::of(&metadata);
        if let Some(before) = before.filter(|before| before.stamp == Some(stamp)) {
            return Ok(before);
        }
        let bytes = read_bounded(&real).map_err(|error| FileFault::unreadable(&error))?;
        let read = Module::new(bytes.into()).map_err(|error| FileFault::invalid(error.to_string()));
        // The stamp is older than the content: what is written meanwhile shows at the next look.
        Ok(Known { stamp: Some(stamp).filter(|stamp| stamp.is_settled(SystemTime::now())), read })
    }
}

impl FileFault {
    fn invalid(reason: impl Into<String>) -> Self {
        Self { is_missing: false, reason: reason.into() }
    }

    fn unreadable(error: &io::Error) -> Self {
        let is_missing = error.kind() == ErrorKind::NotFound;
        let reason = if is_missing {
            "there is no such file: put it there, its path is relative to that of the object".to_owned()
        } else {
            format!("it cannot be read: {error}")
        };
        Self { is_missing, reason }
    }
}

/// Where a file is that an object in `manifest` calls `name`; no disk is asked.
fn locate(root: &Path, manifest: &Path, name: &str) -> Result<PathBuf, String> {
    let mut path = manifest.parent().unwrap_or(root).to_owned();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir if path != root => {
                path.pop();
            }
            Component::ParentDir => {
                return Err("it leads out of the source folder by `..`: put the module into the folder".to_owned());
            }
            Component::RootDir | Component::Prefix(_) => {
                return Err("it is absolute: name it relative to the file of this object".to_owned());
            }
        }
    }
    Ok(path)
}

/// What a path leads to, if that is below the folder.
fn within(root: &Path, path: &Path) -> Result<PathBuf, FileFault> {
    let real = path.canonicalize().map_err(|error| FileFault::unreadable(&error))?;
    let root = root.canonicalize().map_err(|error| FileFault::unreadable(&error))?;
    if real.starts_with(&root) {
        return Ok(real);
    }
    Err(FileFault::invalid("a link on its path leads out of the source folder: put the module itself into the folder"))
}

/// Reads a file, but not much more than a module may have.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_MODULE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    const ONE: &[u8] = b"\0asm\x0d\0\x01\0one";
    const TWO: &[u8] = b"\0asm\x0d\0\x01\0two";

    fn digest(bytes: &'static [u8]) -> String {
        Module::new(bytes.into()).unwrap().digest().to_string()
    }

    fn outcome(read: ModuleRead) -> String {
        read.map_or_else(|fault| fault.reason, |module| module.digest().to_string())
    }

    #[test]
    fn names_stay_in_the_folder() {
        let check = |manifest: &str, name: &str, expected: Result<&str, &str>| {
            let found = locate(Path::new("/m"), Path::new(manifest), name);
            match (found, expected) {
                (Ok(path), Ok(expected)) => assert_eq!(path, Path::new(expected)),
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        };
        check("/m/a.yaml", "p.wasm", Ok("/m/p.wasm"));
        check("/m/d/a.yaml", "./x/p.wasm", Ok("/m/d/x/p.wasm"));
        check("/m/d/a.yaml", "../p.wasm", Ok("/m/p.wasm"));
        check("/m/a.yaml", "../p.wasm", Err("leads out of the source folder by `..`"));
        check("/m/d/a.yaml", "../../m/p.wasm", Err("leads out of the source folder by `..`"));
        check("/m/a.yaml", "/m/p.wasm", Err("it is absolute"));
    }

    #[test]
    fn links_stay_in_the_folder_too() {
        let (dir, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(outside.path().join("p.wasm"), ONE).unwrap();
        fs::write(dir.path().join("real.wasm"), ONE).unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        symlink(outside.path().join("p.wasm"), dir.path().join("out.wasm")).unwrap();
        symlink("real.wasm", dir.path().join("in.wasm")).unwrap();
        symlink("nowhere", dir.path().join("broken.wasm")).unwrap();
        let mut files = ModuleFiles::new(dir.path().to_owned());
        let manifest = dir.path().join("a.yaml");
        for name in ["out/p.wasm", "out.wasm"] {
            assert!(outcome(files.read(&manifest, name)).contains("a link on its path leads out"), "{name}");
        }
        assert_eq!(outcome(files.read(&manifest, "in.wasm")), digest(ONE));
        assert!(files.read(&manifest, "broken.wasm").unwrap_err().is_missing);
        assert!(files.read(&manifest, "").unwrap_err().reason.contains("not a file"));
    }

    #[test]
    fn a_file_that_is_being_written_stays_as_it_was() {
        let dir = TempDir::new().unwrap();
        let (path, manifest) = (dir.path().join("p.wasm"), dir.path().join("a.yaml"));
        let mut files = ModuleFiles::new(dir.path().to_owned());
        let mut look = |content: &[u8], busy: &[&Path]| {
            fs::write(&path, content).unwrap();
            files.begin(busy.iter().map(|path| (*path).to_owned()).collect());
            outcome(files.read(&manifest, "p.wasm"))
        };
        assert_eq!(look(ONE, &[]), digest(ONE));
        assert_eq!(look(&TWO[..9], &[&path]), digest(ONE));
        assert_eq!(look(TWO, &[&path]), digest(ONE));
        assert_eq!(look(TWO, &[]), digest(TWO));
        assert!(look(b"", &[]).contains("it is empty"));
    }
}

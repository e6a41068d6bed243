//! Reads the files of a folder, those that changed since the last time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, Metadata},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{
    parse::{Parsed, parse_bytes},
    stamp::{FileId, Stamp, id_of},
};

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
const MAX_FILE_BYTES: u64 = 64 << 20;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Every manifest there is.
    pub files: BTreeMap<PathBuf, FileRead>,
    /// Directories that could not be listed, and why: what they hold is unknown.
    pub unlisted: Vec<(PathBuf, String)>,
}

/// What a scan found of one file.
#[derive(Debug)]
pub enum FileRead {
    /// The file is as it was at the last scan, or is being written and not to be read yet.
    Unchanged,
    /// The file is gone, but only just: it may be about to be replaced.
    Missing,
    /// The file was read.
    Parsed(Parsed),
    /// The file is there, but could not be read, and why.
    Unreadable(String),
}

/// Scans a folder again and again.
#[derive(Debug)]
pub struct Scanner {
    dir: PathBuf,
    stamps: HashMap<PathBuf, Stamp>,
}

impl Scanner {
    /// A scanner that has not read anything yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, stamps: HashMap::new() }
    }

    /// Looks at every manifest below the folder.
    ///
    /// Names that begin with a dot are passed over: a ConfigMap is mounted as links through `..data` to a hidden
    /// directory, and its files are found by the links. Links are followed; one that leads back up is not.
    ///
    /// Files in `busy` are not read; they stay as they were.
    pub fn scan(&mut self, busy: &BTreeSet<PathBuf>) -> Scan {
        let mut walk =
            Walk { scan: Scan::default(), busy, before: &self.stamps, now: HashMap::new(), above: Vec::new() };
        walk.directory(&self.dir);
        let Walk { scan, now, .. } = walk;
        self.stamps = now;
        scan
    }
}

struct Walk<'a> {
    scan: Scan,
    busy: &'a BTreeSet<PathBuf>,
    before: &'a HashMap<PathBuf, Stamp>,
    now: HashMap<PathBuf, Stamp>,
    /// The directories on the way to here.
    above: Vec<FileId>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &Path) {
        if let Err(error) = self.try_directory(dir) {
            self.scan.unlisted.push((dir.to_owned(), format!("the directory cannot be read: {error}")));
            // What was read of it before is still what is known.
            let below = self.before.iter().filter(|(path, _)| path.starts_with(dir));
            self.now.extend(below.map(|(path, stamp)| (path.clone(), *stamp)));
        }
    }

    fn try_directory(&mut self, dir: &Path) -> io::Result<()> {
        let id = id_of(&fs::metadata(dir)?);
        if self.above.contains(&id) {
            return Ok(());
        }
        let mut entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        self.above.push(id);
        for entry in entries {
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                self.entry(&entry.path());
            }
        }
        self.above.pop();
        Ok(())
    }

    fn entry(&mut self, path: &Path) {
        let is_manifest = path.extension().is_some_and(|found| EXTENSIONS.iter().any(|known| found == *known));
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.directory(path),
            Ok(metadata) if is_manifest && metadata.is_file() => self.file(path, &metadata),
            Ok(_) => {}
            Err(error) if is_manifest => self.unreadable(path, &error),
            Err(_) => {}
        }
    }

    fn file(&mut self, path: &Path, metadata: &Metadata) {
        if self.busy.contains(path) {
            self.scan.files.insert(path.to_owned(), FileRead::Unchanged);
            return;
        }
        let stamp = Stamp::of(metadata);
        if self.before.get(path) == Some(&stamp) {
            self.now.insert(path.to_owned(), stamp);
            self.scan.files.insert(path.to_owned(), FileRead::Unchanged);
            return;
        }
        if metadata.len() > MAX_FILE_BYTES {
            let reason = format!("the file is larger than {} MiB: split it", MAX_FILE_BYTES >> 20);
            self.scan.files.insert(path.to_owned(), FileRead::Unreadable(reason));
            return;
        }
        // The stamp is older than the content: what is written meanwhile shows at the next scan.
        if stamp.is_settled(SystemTime::now()) {
            self.now.insert(path.to_owned(), stamp);
        }
        match fs::read(path) {
            Ok(bytes) => {
                self.scan.files.insert(path.to_owned(), FileRead::Parsed(parse_bytes(&bytes)));
            }
            Err(error) => {
                self.now.remove(path);
                self.unreadable(path, &error);
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let is_gone = error.kind() == ErrorKind::NotFound && fs::symlink_metadata(path).is_err();
        if !is_gone {
            let reason = format!("the file cannot be read: {error}");
            self.scan.files.insert(path.to_owned(), FileRead::Unreadable(reason));
        }
    }
}

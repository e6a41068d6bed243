//! Which files are not to be believed yet: somebody is writing them, or they have only just gone.
//!
//! A shell empties a file when it opens it and fills it when it gets round to it, an editor renames the old file away
//! before it writes the new one. What a scan would find in between, nobody has meant.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    time::{Duration, Instant},
};

use notify::{
    EventKind,
    event::{AccessKind, AccessMode, ModifyKind},
};

use super::scan::{FileRead, Scan};

/// How long after its last write a file may wait to be closed. Not every change has a close: `truncate(2)` has none.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long a file that is written again and again may go unread altogether.
const MAX_WRITE: Duration = Duration::from_secs(10);
/// How long a file must be gone for its objects to go.
const GRACE: Duration = Duration::from_millis(250);

/// The files that have been written to and not been closed since.
#[derive(Debug, Default)]
pub(super) struct Writers {
    open: HashMap<PathBuf, Writing>,
}

#[derive(Debug)]
struct Writing {
    first: Instant,
    last: Instant,
}

impl Writers {
    /// Takes in an event about a file.
    pub(super) fn note(&mut self, kind: &EventKind, path: PathBuf, now: Instant) {
        match kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                self.open.entry(path).or_insert(Writing { first: now, last: now }).last = now;
            }
            // Closed, or another file by now.
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Create(_)
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                self.open.remove(&path);
            }
            _ => {}
        }
    }

    /// The files to leave alone, and the moment from which one of them need not be any more.
    pub(super) fn busy(&mut self, now: Instant) -> (BTreeSet<PathBuf>, Option<Instant>) {
        self.open.retain(|_, writing| now < writing.patience_ends());
        let next = self.open.values().map(Writing::patience_ends).min();
        (self.open.keys().cloned().collect(), next)
    }
}

impl Writing {
    fn patience_ends(&self) -> Instant {
        (self.last + MAX_PAUSE).min(self.first + MAX_WRITE)
    }
}

/// The files that there were, and since when some of them have been missing.
#[derive(Debug, Default)]
pub(super) struct Grace {
    known: BTreeSet<PathBuf>,
    missing: BTreeMap<PathBuf, Instant>,
}

impl Grace {
    /// Adds to a scan the files that have only just gone. Returns when one of them must be given up.
    pub(super) fn extend(&mut self, scan: &mut Scan, now: Instant) -> Option<Instant> {
        let Scan { files, unlisted } = scan;
        let mut known: BTreeSet<_> = files.keys().cloned().collect();
        let mut missing = BTreeMap::new();
        for path in self.known.difference(&known.clone()) {
            if unlisted.iter().any(|(dir, _)| path.starts_with(dir)) {
                known.insert(path.clone());
                continue;
            }
            let since = self.missing.get(path).copied().unwrap_or(now);
            if now < since + GRACE {
                missing.insert(path.clone(), since);
                known.insert(path.clone());
                files.insert(path.clone(), FileRead::Missing);
            }
        }
        (self.known, self.missing) = (known, missing);
        self.missing.values().min().map(|since| *since + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RenameMode};

    use super::*;

    const WRITE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSE: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));

    /// Whether a file is left alone at `at` milliseconds, after these events at these milliseconds.
    fn is_busy(events: &[(u64, EventKind)], at: u64) -> bool {
        let start = Instant::now();
        let mut writers = Writers::default();
        for (at, kind) in events {
            writers.note(kind, "a.yaml".into(), start + Duration::from_millis(*at));
        }
        let (busy, next) = writers.busy(start + Duration::from_millis(at));
        assert_eq!(busy.is_empty(), next.is_none());
        !busy.is_empty()
    }

    #[test]
    fn a_file_is_left_alone_from_its_first_write_until_it_is_closed() {
        assert!(is_busy(&[(0, WRITE)], 999));
        assert!(is_busy(&[(0, WRITE), (900, WRITE)], 1_800));
        assert!(!is_busy(&[(0, WRITE), (900, WRITE), (1_800, CLOSE)], 1_800));
        assert!(is_busy(&[(0, CLOSE), (0, WRITE)], 1), "opened again");
    }

    #[test]
    fn a_file_that_is_never_closed_is_read_all_the_same() {
        assert!(!is_busy(&[(0, WRITE)], 1_000));
        let steady: Vec<_> = (0..100).map(|tenth| (tenth * 100, WRITE)).collect();
        assert!(is_busy(&steady, 9_999));
        assert!(!is_busy(&steady, 10_000));
    }

    #[test]
    fn another_file_of_the_name_is_read_at_once() {
        for kind in [EventKind::Create(CreateKind::File), EventKind::Modify(ModifyKind::Name(RenameMode::To))] {
            assert!(!is_busy(&[(0, WRITE), (1, kind)], 1), "{kind:?}");
        }
        assert!(!is_busy(&[(0, EventKind::Access(AccessKind::Close(AccessMode::Read)))], 1));
    }

    /// Which of two files a scan at each of these milliseconds has, when it finds these.
    fn known(scans: &[(u64, &[&str])]) -> Vec<String> {
        let start = Instant::now();
        let mut grace = Grace::default();
        let word = |(path, read): (&PathBuf, &FileRead)| {
            let missing = if matches!(read, FileRead::Missing) { "?" } else { "" };
            format!("{}{missing}", path.display())
        };
        let seen = scans.iter().map(|(at, files)| {
            let files = files.iter().map(|path| (PathBuf::from(path), FileRead::Unchanged)).collect();
            let mut scan = Scan { files, unlisted: Vec::new() };
            grace.extend(&mut scan, start + Duration::from_millis(*at));
            scan.files.iter().map(word).collect::<Vec<_>>().join(" ")
        });
        seen.collect()
    }

    #[test]
    fn a_file_that_has_gone_is_missed_for_a_moment_before_it_is_given_up() {
        assert_eq!(
            known(&[(0, &["a", "b"]), (10, &["b"]), (200, &["b"]), (260, &["b"])]),
            ["a b", "a? b", "a? b", "b"]
        );
        assert_eq!(known(&[(0, &["a"]), (10, &[]), (200, &["a"]), (300, &[]), (540, &[])])[2..], ["a", "a?", "a?"]);
    }

    #[test]
    fn what_cannot_be_seen_is_neither_missing_nor_forgotten() {
        let start = Instant::now();
        let mut grace = Grace::default();
        let scan = |paths: &[&str], unlisted: &[&str]| Scan {
            files: paths.iter().map(|path| (PathBuf::from(path), FileRead::Unchanged)).collect(),
            unlisted: unlisted.iter().map(|dir| (PathBuf::from(dir), String::new())).collect(),
        };
        grace.extend(&mut scan(&["d/a"], &[]), start);
        let mut blind = scan(&[], &["d"]);
        assert_eq!(grace.extend(&mut blind, start + GRACE), None);
        assert!(blind.files.is_empty());
        let mut gone = scan(&[], &[]);
        assert_eq!(grace.extend(&mut gone, start + GRACE * 2), Some(start + GRACE * 3));
        assert!(matches!(gone.files.values().next(), Some(FileRead::Missing)));
    }
}

//! Follows a folder. Events are hints that make a scan come sooner; what counts is what the scan finds.

use std::{
    fs, io,
    path::{self, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinError, spawn_blocking},
    time::{self, sleep, timeout_at},
};

use super::{
    calm::{Grace, Writers},
    modules::ModuleFiles,
    scan::Scanner,
    stamp::{FileId, id_of},
    state::FolderState,
};
use crate::{
    source::SourceUpdate,
    translate::{Place, Problem},
};

/// How long no event may come before files are read: changes rarely come alone.
const SETTLE: Duration = Duration::from_millis(20);
/// How long a stream of events may put off reading.
const MAX_SETTLE: Duration = Duration::from_millis(500);
/// When to look although no event came: one may have been lost, and there are places that send none.
const RESCAN: Duration = Duration::from_secs(10);
/// When to look for a folder that has gone: nothing tells of its return.
const RESCAN_GONE: Duration = Duration::from_millis(500);

/// Why a folder cannot be a source.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is nothing to start from.
    #[error("cannot read the source directory {}: {source}", dir.display())]
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that reads files ended early.
    #[error("reading the source directory was cut short: {0}")]
    Interrupted(#[from] JoinError),
}

/// Reads a folder and follows its changes until nobody listens any more.
///
/// The first update comes after the first whole scan, also when the folder is empty; later ones when something changed.
///
/// # Errors
/// When the folder cannot be read at the start. One that goes away later keeps its last good state, and its absence is
/// a problem in the updates.
pub async fn run(dir: PathBuf, updates: mpsc::Sender<SourceUpdate>) -> Result<(), FolderError> {
    let hint = Arc::new(Notify::new());
    let opened = {
        let (dir, hint) = (dir.clone(), Arc::clone(&hint));
        spawn_blocking(move || Follower::open(dir, hint)).await?
    };
    let mut follower = opened.map_err(|source| FolderError::Unreadable { dir, source })?;
    let mut told = None;
    loop {
        let update;
        (follower, update) = spawn_blocking(move || follower.look()).await?;
        if !update.changes.is_empty() || told.as_ref() != Some(&update.problems) {
            told = Some(update.problems.clone());
            if updates.send(update).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            () = hint.notified() => settle(&hint).await,
            () = sleep(follower.patience()) => {}
            () = updates.closed() => return Ok(()),
        }
    }
}

/// Waits until no event has come for a while.
async fn settle(hint: &Notify) {
    let latest = time::Instant::now() + MAX_SETTLE;
    while timeout_at(latest.min(time::Instant::now() + SETTLE), hint.notified()).await.is_ok() {}
}

/// Everything that must be kept from one look at the folder to the next.
struct Follower {
    dir: PathBuf,
    hint: Arc<Notify>,
    writers: Arc<Mutex<Writers>>,
    scanner: Scanner,
    modules: ModuleFiles,
    grace: Grace,
    state: FolderState,
    watch: Watch,
    /// When to look again because a file was not to be believed yet.
    again: Option<Instant>,
}

/// The subscription to events of the folder.
enum Watch {
    /// Events come from the directory with this identity.
    On { directory: FileId, _watcher: RecommendedWatcher },
    /// No events come from that directory, and why.
    Failed { directory: FileId, reason: String },
    /// The folder is not there.
    Gone,
}

impl Follower {
    fn open(dir: PathBuf, hint: Arc<Notify>) -> io::Result<Self> {
        // The error is the same that a scan would run into, but here somebody waits for it.
        fs::read_dir(&dir)?;
        Ok(Self {
            scanner: Scanner::new(dir.clone()),
            modules: ModuleFiles::new(dir.clone()),
            dir,
            hint,
            writers: Arc::default(),
            grace: Grace::default(),
            state: FolderState::default(),
            watch: Watch::Gone,
            again: None,
        })
    }

    /// Subscribes if need be, then scans: what happens between the two makes an event.
    fn look(mut self) -> (Self, SourceUpdate) {
        self.subscribe();
        let now = Instant::now();
        let (busy, calm_at) = self.writers.lock().unwrap_or_else(PoisonError::into_inner).busy(now);
        let mut scan = self.scanner.scan(&busy);
        let given_up_at = self.grace.extend(&mut scan, now);
        self.again = calm_at.into_iter().chain(given_up_at).min();
        self.modules.begin(busy);
        let mut update = self.state.reconcile(scan, |manifest, name| self.modules.read(manifest, name));
        if let Watch::Failed { reason, .. } = &self.watch {
            let place = Place::File { path: self.dir.clone(), line: None };
            let reason = format!("changes are noticed only every {} s: {reason}", RESCAN.as_secs());
            update.problems.push(Problem { object: None, place, reason });
        }
        (self, update)
    }

    fn subscribe(&mut self) {
        let Ok(metadata) = fs::metadata(&self.dir) else {
            self.watch = Watch::Gone;
            return;
        };
        let directory = id_of(&metadata);
        if let Watch::On { directory: known, .. } | Watch::Failed { directory: known, .. } = &self.watch
            && *known == directory
        {
            return;
        }
        self.watch = match watcher(&self.dir, Arc::clone(&self.writers), Arc::clone(&self.hint)) {
            Ok(watcher) => Watch::On { directory, _watcher: watcher },
            Err(error) => Watch::Failed { directory, reason: error.to_string() },
        };
    }

    /// How long to wait for an event before looking anyway.
    fn patience(&self) -> Duration {
        let patience = match self.watch {
            Watch::On { .. } | Watch::Failed { .. } => RESCAN,
            Watch::Gone => RESCAN_GONE,
        };
        self.again.map_or(patience, |again| patience.min(again.saturating_duration_since(Instant::now())))
    }
}

fn watcher(dir: &Path, writers: Arc<Mutex<Writers>>, hint: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    // Events have absolute paths, scans have them as the folder was given.
    let (dir, root) = (dir.to_owned(), path::absolute(dir)?);
    let mut watcher = notify::recommended_watcher({
        let root = root.clone();
        move |event: notify::Result<notify::Event>| {
            if let Ok(event) = &event {
                // Reading makes events of its own; to heed them would be to never stop reading.
                if is_read(&event.kind) {
                    return;
                }
                let mut writers = writers.lock().unwrap_or_else(PoisonError::into_inner);
                for path in event.paths.iter().filter_map(|path| path.strip_prefix(&root).ok()) {
                    writers.note(&event.kind, dir.join(path), Instant::now());
                }
            }
            // An error may mean that events were lost, so it is a hint too.
            hint.notify_one();
        }
    })?;
    watcher.watch(&root, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn is_read(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}

//! How a proxy stops: it goes on accepting, asks every connection to end after what it is doing, and leaves when none
//! is left or the time is up.
//!
//! All workers leave together. One that left as soon as it was idle would take the connections with it that the kernel
//! has queued for its listener.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::sleep};

/// The proxy is idle when it has had no connection for this long: one that is just being accepted is not missed.
const QUIET: Duration = Duration::from_millis(100);

/// How often the end of a drain is looked for.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    Draining,
    Stopped,
}

/// What connections and workers see of it. Cheap to clone.
#[derive(Clone)]
pub struct Drain {
    phase: watch::Receiver<Phase>,
    open: Arc<AtomicUsize>,
}

/// Drives the drain.
pub struct DrainControl {
    phase: watch::Sender<Phase>,
    open: Arc<AtomicUsize>,
}

/// One connection; counted until it is dropped.
pub struct OpenConnection(Arc<AtomicUsize>);

/// A drain that has not begun, and what drives it.
pub fn channel() -> (DrainControl, Drain) {
    let (sender, receiver) = watch::channel(Phase::Running);
    let open = Arc::new(AtomicUsize::new(0));
    (DrainControl { phase: sender, open: Arc::clone(&open) }, Drain { phase: receiver, open })
}

impl DrainControl {
    /// Begins the drain and ends when the proxy is idle, or after `at_most`. Returns how many connections are left then.
    pub async fn drain(&self, at_most: Duration) -> usize {
        self.phase.send_replace(Phase::Draining);
        // The time is up: the number below tells what is left.
        let _ = tokio::time::timeout(at_most, self.idle()).await;
        self.open.load(Ordering::Relaxed)
    }

    async fn idle(&self) {
        let mut quiet = Duration::ZERO;
        while quiet < QUIET {
            sleep(LOOK).await;
            quiet = if self.open.load(Ordering::Relaxed) == 0 { quiet + LOOK } else { Duration::ZERO };
        }
    }

    /// Tells the workers to leave.
    pub fn stop(&self) {
        self.phase.send_replace(Phase::Stopped);
    }
}

impl Drain {
    /// Counts a connection for as long as the returned value lives.
    pub fn enter(&self) -> OpenConnection {
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.open))
    }

    /// How many connections are open.
    pub fn open_connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Whether the drain has begun.
    pub fn has_begun(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Ends when the drain begins, or at once if it has.
    pub async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Ends so long after the drain has begun, or after now if it has.
    pub async fn begun_and(&self, later: Duration) {
        self.begun().await;
        sleep(later).await;
    }

    /// Ends when it is time to leave.
    pub async fn stopped(&self) {
        self.reached(Phase::Stopped).await;
    }

    async fn reached(&self, phase: Phase) {
        // Whoever drives the drain is gone only when the process is ending anyway.
        let _ = self.phase.clone().wait_for(|now| *now >= phase).await;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

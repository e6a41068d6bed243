//! What a client connection is doing, so that a drain ends it when nothing is lost by it.

use std::{cell::Cell, time::Duration};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::drain::Drain;

/// A connection on which nothing has been asked for this long is closed in a drain: by then no request is on its way.
const QUIET: Duration = Duration::from_secs(1);

/// The requests of one connection.
pub(super) struct Activity {
    drain: Drain,
    in_flight: Cell<usize>,
    last: Cell<Instant>,
    used: Notify,
}

/// A request that is being answered, until its response begins.
pub(super) struct Busy<'a>(&'a Activity);

impl Activity {
    pub(super) fn new(drain: &Drain) -> Self {
        Self { drain: drain.clone(), in_flight: Cell::new(0), last: Cell::new(Instant::now()), used: Notify::new() }
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Busy<'_> {
        self.in_flight.set(self.in_flight.get() + 1);
        self.used.notify_one();
        Busy(self)
    }

    /// Whether the proxy wants to end.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.has_begun()
    }

    /// Ends when the proxy wants to end and nothing has been asked for a while.
    pub(super) async fn quiet_in_drain(&self) {
        self.drain.begun().await;
        let mut since = Instant::now();
        loop {
            sleep_until(since + QUIET).await;
            since = if self.in_flight.get() > 0 { Instant::now() } else { self.last.get().max(since) };
            if since.elapsed() >= QUIET {
                return;
            }
        }
    }

    /// Ends when the proxy wants to end and something has been asked, or nothing for a while.
    pub(super) async fn used_in_drain(&self) {
        self.drain.begun().await;
        let _ = tokio::time::timeout(QUIET, self.used.notified()).await;
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.last.set(Instant::now());
    }
}

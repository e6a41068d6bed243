//! Recordings of picks on request.
//!
//! The keeper puts fresh instances with a [`wasmesh_policy_recording::Tape`] each into the places of a Service port; the workers
//! write their tapes as they pick. What is written goes to whoever asked without waiting for anybody: a reader that is too slow
//! ends the recording, not the traffic.

use std::time::Duration;

use tokio::time::Instant;
use wasmesh_policy_recording::Recorder;

use super::wishes::Meant;

/// Pieces that wait for the reader: 32 KiB each, more where one line has more.
pub(super) const MAX_PIECES: usize = 64;

/// The most picks of one recording.
pub const MAX_PICKS: u64 = 10_000_000;

/// The longest that one recording takes.
pub const MAX_TIME: Duration = Duration::from_secs(3_600);

/// What somebody wants to have recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Of which policy.
    pub meant: Meant,
    /// At most so many picks, up to [`MAX_PICKS`].
    pub picks: u64,
    /// At most for this time, up to [`MAX_TIME`].
    pub time: Duration,
}

/// A recording that the keeper has begun. When it is dropped nothing more is recorded.
pub(super) struct UnderWay {
    recorder: Recorder,
    until: Instant,
}

impl UnderWay {
    pub(super) fn new(recorder: Recorder, time: Duration) -> Self {
        Self { recorder, until: Instant::now() + time.min(MAX_TIME) }
    }

    /// When it ends at the latest; `None` if it has ended.
    pub(super) fn until(&self) -> Option<Instant> {
        let progress = self.recorder.progress();
        if self.until <= Instant::now() {
            progress.end("its time is up");
        }
        (!progress.is_over()).then_some(self.until)
    }

    /// For the tapes.
    pub(super) fn recorder(&self) -> &Recorder {
        &self.recorder
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.recorder.progress().end("the policy was replaced, or is needed no more");
    }
}

//! Recordings of picks on request: who asks, and what becomes of it.
//!
//! The keeper puts fresh instances with a [`wasmesh_policy_recording::Tape`] each into the places of a Service port; the workers
//! write their tapes as they pick. What is written goes to whoever asked without waiting for anybody: a reader that is too slow
//! ends the recording, not the traffic.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use wasmesh_core::name::ServiceName;
use wasmesh_policy_recording::{Progress, Recorder};

/// Pieces of 32 KiB that wait for the reader.
const MAX_PIECES: usize = 256;

/// The most picks of one recording.
pub const MAX_PICKS: u64 = 10_000_000;

/// The longest that one recording takes.
pub const MAX_TIME: Duration = Duration::from_secs(3_600);

/// What somebody wants to have recorded.
pub struct Order {
    /// Of which Service.
    pub service: ServiceName,
    /// Of which port; not needed if only one has a policy that can be recorded.
    pub port: Option<u16>,
    /// At most so many picks, up to [`MAX_PICKS`].
    pub picks: u64,
    /// At most for this time, up to [`MAX_TIME`].
    pub time: Duration,
}

/// Why nothing is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nothing by that name.
    #[error("{0}")]
    NotThere(String),
    /// Not now.
    #[error("{0}")]
    NotNow(String),
}

/// An order on its way to the keeper.
pub struct Ordered {
    /// What is wanted.
    pub(super) order: Order,
    /// Where what is recorded goes.
    pub(super) pieces: mpsc::Sender<Bytes>,
    /// Whether it has begun.
    pub(super) reply: oneshot::Sender<Result<Arc<Progress>, Refused>>,
}

/// The way to the keeper. Clones lead to the same one.
#[derive(Clone)]
pub struct Recordings(mpsc::UnboundedSender<Ordered>);

impl Recordings {
    /// The way there, and where it arrives.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Ordered>) {
        let (orders, ordered) = mpsc::unbounded_channel();
        (Self(orders), ordered)
    }

    /// Begins a recording: whole lines, until the channel ends. It ends when the receiver is dropped.
    ///
    /// # Errors
    /// There is no such policy, or it cannot be recorded now.
    pub async fn begin(&self, order: Order) -> Result<mpsc::Receiver<Bytes>, Refused> {
        let ended = || Refused::NotNow("the proxy is ending".to_owned());
        let (pieces, mut written) = mpsc::channel(MAX_PIECES);
        let (reply, answer) = oneshot::channel();
        self.0.send(Ordered { order, pieces, reply }).map_err(|_| ended())?;
        let progress = answer.await.map_err(|_| ended())??;
        // In between, because the last line is written when all tapes are gone, and only then.
        let (lines, reader) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(piece) = written.recv().await {
                if lines.send(piece).await.is_err() {
                    return;
                }
            }
            // The reader may have left.
            let _ = lines.send(progress.last_line()).await;
        });
        Ok(reader)
    }
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

//! What people want to see of policies, on its way from the admin server to the keeper.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use wasmesh_core::name::ServiceName;
use wasmesh_policy_recording::Progress;

use super::recording::{self, MAX_PIECES};

/// Which policy is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    /// Of which Service.
    pub service: ServiceName,
    /// Of which port; not needed if only one has a policy.
    pub port: Option<u16>,
}

/// Why a wish is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is nothing by that name.
    #[error("{0}")]
    NotThere(String),
    /// Not now.
    #[error("{0}")]
    NotNow(String),
}

/// A wish on its way.
pub enum Wish {
    /// To have picks written down, as they come.
    Record {
        /// Which, and how many.
        order: recording::Order,
        /// Where what is recorded goes.
        pieces: mpsc::Sender<Bytes>,
        /// Whether it has begun.
        reply: oneshot::Sender<Result<Arc<Progress>, Refused>>,
    },
    /// To see the last picks.
    Explain {
        /// Whose.
        meant: Meant,
        /// So many at most.
        last: usize,
        /// A page of JSON.
        reply: oneshot::Sender<Result<Value, Refused>>,
    },
}

/// The way to the keeper. Clones lead to the same one.
#[derive(Clone)]
pub struct Wishes(mpsc::UnboundedSender<Wish>);

impl Wishes {
    /// The way there, and where it arrives.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Wish>) {
        let (wishes, arriving) = mpsc::unbounded_channel();
        (Self(wishes), arriving)
    }

    /// Begins a recording: whole lines, until the channel ends. It ends when the receiver is dropped.
    ///
    /// # Errors
    /// There is no such policy, or it cannot be recorded now.
    pub async fn record(&self, order: recording::Order) -> Result<mpsc::Receiver<Bytes>, Refused> {
        let (pieces, mut written) = mpsc::channel(MAX_PIECES);
        let (reply, answer) = oneshot::channel();
        self.send(Wish::Record { order, pieces, reply })?;
        let progress = answer.await.map_err(|_| ending())??;
        // In between, because the last line is written when all tapes are gone, and only then.
        let (lines, reader) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let piece = tokio::select! {
                    piece = written.recv() => piece,
                    // The keeper looks again within a second.
                    () = lines.closed() => return progress.end("who read it has left"),
                };
                let Some(piece) = piece else { break };
                if lines.send(piece).await.is_err() {
                    return progress.end("who read it has left");
                }
            }
            // The reader may have left.
            let _ = lines.send(progress.last_line()).await;
        });
        Ok(reader)
    }

    /// The last picks of a policy, so many at most.
    ///
    /// # Errors
    /// There is no such policy.
    pub async fn explain(&self, meant: Meant, last: usize) -> Result<Value, Refused> {
        let (reply, answer) = oneshot::channel();
        self.send(Wish::Explain { meant, last, reply })?;
        answer.await.map_err(|_| ending())?
    }

    fn send(&self, wish: Wish) -> Result<(), Refused> {
        self.0.send(wish).map_err(|_| ending())
    }
}

fn ending() -> Refused {
    Refused::NotNow("the proxy is ending".to_owned())
}

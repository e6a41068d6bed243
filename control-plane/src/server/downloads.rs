//! Modules on their way to proxies.
//!
//! A thousand sidecars ask for a new module within seconds. Its bytes are there once, whoever reads them; a chunk is made
//! when the connection has room for it; and only so many downloads are under way at once, the others wait for their turn.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::Status;
use wasmesh_core::policy::ModuleDigest;
use wasmesh_proto::wire;

use crate::events;

/// The bytes of one message.
const CHUNK_BYTES: usize = 64 << 10;

/// How many downloads are under way at once: at 4 MiB each and 64 KiB in flight, bounded in memory and in wakeups.
const AT_ONCE: usize = 64;

/// How long a download may wait for its turn. A proxy that is sent away tries again, with jitter.
const PATIENCE: Duration = Duration::from_secs(20);

/// The downloads under way.
pub(super) struct Downloads {
    turns: Arc<Semaphore>,
}

impl Default for Downloads {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Downloads {
    /// Begins a download when its turn comes.
    pub(super) async fn begin(&self, digest: ModuleDigest, bytes: Bytes) -> Result<Chunks, Status> {
        match timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await {
            Ok(Ok(turn)) => {
                events::module_sent(&digest, bytes.len());
                Ok(Chunks { total: bytes.len() as u64, rest: Some(bytes), _turn: turn })
            }
            Ok(Err(_)) | Err(_) => Err(Status::unavailable("too many proxies fetch modules at once, try again later")),
        }
    }
}

/// The messages of one download.
pub struct Chunks {
    total: u64,
    rest: Option<Bytes>,
    _turn: OwnedSemaphorePermit,
}

impl tokio_stream::Stream for Chunks {
    type Item = Result<wire::ModuleChunk, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = self.rest.take().map(|mut rest| {
            let data = rest.split_to(rest.len().min(CHUNK_BYTES));
            self.rest = Some(rest).filter(|rest| !rest.is_empty());
            Ok(wire::ModuleChunk { data, total: std::mem::take(&mut self.total) })
        });
        Poll::Ready(chunk)
    }
}

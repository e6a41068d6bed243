//! What is read of a question. Many strangers with large questions must not take all of the memory, and must not keep a small
//! one waiting.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{
    StatusCode,
    body::{Body, Incoming},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, timeout},
};

/// Kubernetes itself takes no object larger than 3 MiB; a review may carry it twice.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What every question may have without asking: a review of a pod is some 10 KiB.
const FREE: usize = 32 * 1024;

/// What all questions at once may have beyond that. Read as JSON it may become ten times as much, and the shipped manifests
/// give the control plane 1 GiB.
const SHARED: usize = 32 * 1024 * 1024;

/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all questions share.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// A body, and the room that it takes as long as it lives.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why there is no body: a status and what is wrong.
pub(super) type Unread = (StatusCode, String);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SHARED)))
    }

    /// Reads a body whole.
    ///
    /// # Errors
    /// When it is too large, breaks off, or takes too long, because of its sender or because there is no room.
    pub(super) async fn read(&self, body: Incoming) -> Result<Held, Unread> {
        let too_slow =
            |_| (StatusCode::REQUEST_TIMEOUT, "the request does not end, or there is no room for it".to_owned());
        timeout(PATIENCE, self.collect(body)).await.unwrap_or_else(|late| Err(too_slow(late)))
    }

    async fn collect(&self, mut body: Incoming) -> Result<Held, Unread> {
        let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, format!("more than {MAX_BYTES} bytes"));
        // What announces to be too large is not read at all.
        if body.size_hint().lower() > MAX_BYTES as u64 {
            return Err(too_large());
        }
        let (mut bytes, mut room) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        while let Some(frame) = body.frame().await {
            let breaks_off = |error| (StatusCode::BAD_REQUEST, format!("the request breaks off: {error}"));
            let Ok(data) = frame.map_err(breaks_off)?.into_data() else { continue };
            let length = bytes.len() + data.len();
            if length > MAX_BYTES {
                return Err(too_large());
            }
            // Room is taken for what has come and not for what is announced: who keeps others out has to send something.
            let missing =
                length.saturating_sub(FREE).saturating_sub(room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
            if missing > 0 {
                let missing = u32::try_from(missing).unwrap_or(u32::MAX);
                let closed = |_| (StatusCode::SERVICE_UNAVAILABLE, "the injector is ending".to_owned());
                let more = Arc::clone(&self.0).acquire_many_owned(missing).await.map_err(closed)?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), _room: room })
    }
}

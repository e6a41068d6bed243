//! What is read of a question. Many strangers with large questions must not take all of the memory, and must not keep a small
//! one waiting, nor a large one of somebody else.
//!
//! So each address has a share, which large questions of its own wait for, all at once and before anything of them is read: none
//! waits while it holds what another one waits for. What all have together is never waited for.

use std::{
    collections::HashMap,
    fmt::Display,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{StatusCode, body::Body};
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

/// What the questions of one address may have of it: as much as the largest one.
const SHARE: usize = MAX_BYTES;

/// How long it may take to come, with the time that it waits for its share.
const PATIENCE: Duration = Duration::from_secs(5);

/// What all questions share.
#[derive(Clone)]
pub(super) struct Room {
    all: Arc<Semaphore>,
    /// Of those addresses that have something of it.
    shares: Arc<Mutex<HashMap<IpAddr, Weak<Semaphore>>>>,
}

/// A body, and the room that it takes as long as it lives.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why there is no body: a status and what is wrong.
pub(super) type Unread = (StatusCode, String);

impl Room {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(SHARED)), shares: Arc::default() }
    }

    /// Reads a body from this address whole.
    ///
    /// # Errors
    /// When it is too large, breaks off, or takes too long, because of its sender or of others at the same address, and when
    /// there is no room.
    pub(super) async fn read<B>(&self, from: IpAddr, body: B) -> Result<Held, Unread>
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let too_slow = |_| {
            let why = "the request does not end, or others from the same address leave no room for it";
            (StatusCode::REQUEST_TIMEOUT, why.to_owned())
        };
        timeout(PATIENCE, self.collect(from, body)).await.unwrap_or_else(|late| Err(too_slow(late)))
    }

    async fn collect<B>(&self, from: IpAddr, mut body: B) -> Result<Held, Unread>
    where
        B: Body<Data = Bytes, Error: Display> + Unpin,
    {
        let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, format!("more than {MAX_BYTES} bytes"));
        let size = body.size_hint();
        // What announces to be too large is not read at all.
        if size.lower() > MAX_BYTES as u64 {
            return Err(too_large());
        }
        // One that does not say how large it will be may become the largest.
        let size = size.upper().and_then(|upper| usize::try_from(upper).ok()).unwrap_or(MAX_BYTES).min(MAX_BYTES);
        let share = self.share(from, size.saturating_sub(FREE)).await?;
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
                let full = |_| {
                    let why = "no room for a large request: too many others are under way, try again later";
                    (StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
                };
                let more = Arc::clone(&self.all).try_acquire_many_owned(permits(missing)).map_err(full)?;
                match &mut room {
                    Some(room) => room.merge(more),
                    None => room = Some(more),
                }
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), _share: share, _room: room })
    }

    /// So much of what an address may have, when its turn comes. None of nothing.
    async fn share(&self, from: IpAddr, bytes: usize) -> Result<Option<OwnedSemaphorePermit>, Unread> {
        if bytes == 0 {
            return Ok(None);
        }
        let closed = |_| (StatusCode::SERVICE_UNAVAILABLE, "the injector is ending".to_owned());
        self.share_of(from.to_canonical()).acquire_many_owned(permits(bytes)).await.map(Some).map_err(closed)
    }

    fn share_of(&self, from: IpAddr) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&from).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(SHARE));
        shares.insert(from, Arc::downgrade(&share));
        share
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, pin::Pin};

    use futures_util::{FutureExt, StreamExt, stream};
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    type Reading<'a> = Pin<Box<dyn Future<Output = Result<Held, Unread>> + 'a>>;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// The question of one who sends all that may be sent but the end.
    fn stalled(room: &Room, from: IpAddr) -> Reading<'_> {
        let data = Bytes::from(vec![b' '; MAX_BYTES]);
        let frames = stream::iter([Ok::<_, Infallible>(Frame::data(data))]).chain(stream::pending());
        let mut reading: Reading<'_> = Box::pin(room.read(from, StreamBody::new(frames.boxed())));
        assert!(reading.as_mut().now_or_never().is_none());
        reading
    }

    /// How far a whole question gets at once.
    fn whole(room: &Room, from: IpAddr, bytes: usize) -> Option<Result<Held, Unread>> {
        room.read(from, Full::new(Bytes::from(vec![b' '; bytes]))).now_or_never()
    }

    #[tokio::test]
    async fn large_questions_of_one_address_keep_none_of_another_waiting() {
        let room = Room::new();
        let stalled: Vec<_> = (0..10).map(|_| stalled(&room, address(1))).collect();
        assert!(whole(&room, address(2), MAX_BYTES).is_some_and(|read| read.is_ok()));
        assert!(whole(&room, address(1), FREE).is_some_and(|read| read.is_ok()), "a small one waits for nobody");
        assert!(whole(&room, address(1), FREE + 1).is_none());
        drop(stalled);
        assert!(whole(&room, address(1), MAX_BYTES).is_some_and(|read| read.is_ok()));
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_refused_at_once() {
        let room = Room::new();
        let stalled: Vec<_> = (1..5).map(|last| stalled(&room, address(last))).collect();
        let refused = whole(&room, address(9), 1024 * 1024).unwrap().unwrap_err();
        assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE);
        assert!(whole(&room, address(9), FREE).is_some_and(|read| read.is_ok()));
        drop(stalled);
        let held = whole(&room, address(9), MAX_BYTES).unwrap().unwrap();
        assert_eq!(held.bytes.len(), MAX_BYTES);
        drop(held);
        assert_eq!(room.all.available_permits(), SHARED);
        drop(room.share_of(address(10)));
        assert_eq!(room.shares.lock().unwrap().len(), 1, "those that have nothing of it are forgotten");
    }
}

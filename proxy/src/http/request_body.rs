//! Bodies of requests: streamed from the client, and kept for a while so that they can be sent a second time.
//!
//! Until an endpoint has answered, what has been read from the client is remembered up to a limit. A body that has
//! outgrown it cannot be sent again, and a request with it is not.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::{HeaderMap, body::Incoming};
use tokio::time::{Duration, sleep, timeout};

use super::{buffers::Buffers, connection::StreamLease, inflow::Inflow, outlet::Outlet, replay_budget::Share};
use crate::events;

/// Holds a body back until it ends: the client waits to be told to continue.
pub(super) type Gate = Pin<Box<dyn Future<Output = ()>>>;

/// How long the beginning of a body is waited for. A client may say more only once it is answered, and then the policy has
/// to do with what there is.
const PREFIX_PATIENCE: Duration = Duration::from_secs(1);

/// How long an endpoint may take nothing of an upload that was abandoned.
const STRANDED: Duration = Duration::from_secs(5);

/// The body of one attempt to send a request.
pub(super) enum RequestBody {
    /// There is none.
    Empty,
    /// The client's.
    Streamed(Reader),
}

/// Keeps a body for further attempts.
pub(super) enum Replay {
    Empty,
    Streamed(Rc<RefCell<Source>>),
}

/// One attempt's view of the body.
pub(super) struct Reader {
    source: Rc<RefCell<Source>>,
    /// Which attempt this is; only the last one may read on.
    attempt: u32,
    /// How many of the remembered frames it has given.
    given: usize,
}

/// What is left of a request to be sent.
#[derive(Clone)]
pub(super) struct Upload(Weak<RefCell<Source>>);

/// Why a body does not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The client has broken it off.
    #[error(transparent)]
    Client(#[from] hyper::Error),
    /// Nobody is there any more to hear the response; the endpoint is told so by this code.
    #[error("its response was abandoned")]
    Abandoned(#[source] h2::Error),
}

pub(super) struct Source {
    /// The client's; none once it was cut off.
    body: Option<Inflow>,
    /// Who waits for more of it.
    reading: Option<Waker>,
    /// Of the connection that it is sent on, where others share that: it is in use for as long as there may be more to send.
    lease: Option<StreamLease>,
    gate: Option<Gate>,
    remembered: VecDeque<Remembered>,
    share: Share,
    /// How much may be remembered.
    limit: usize,
    /// Whether all that was read is remembered.
    complete: bool,
    attempt: u32,
    /// How the body ended while its beginning was read; told to whoever reads on.
    ended: Option<Option<hyper::Error>>,
}

#[derive(Clone)]
enum Remembered {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl RequestBody {
    /// The client's body, and what can repeat it while it has no more than `limit` bytes and all of them together have room. It is not
    /// read before `gate` has ended.
    pub(super) fn new(body: Incoming, gate: Option<Gate>, limit: usize, buffers: &Buffers) -> (Self, Replay) {
        if body.is_end_stream() {
            return (Self::Empty, Replay::Empty);
        }
        let source = Source {
            body: Some(Inflow::of_client(body)),
            reading: None,
            lease: None,
            gate,
            remembered: VecDeque::new(),
            share: buffers.replays.share(),
            limit,
            complete: true,
            attempt: 0,
            ended: None,
        };
        let source = Rc::new(RefCell::new(source));
        source.borrow().body.iter().for_each(|body| body.set_upload(&Upload(Rc::downgrade(&source))));
        let reader = Reader { source: Rc::clone(&source), attempt: 0, given: 0 };
        (Self::Streamed(reader), Replay::Streamed(source))
    }
}

impl RequestBody {
    /// What is left to be sent of it.
    pub(super) fn upload(&self) -> Option<Upload> {
        match self {
            Self::Empty => None,
            Self::Streamed(reader) => Some(Upload(Rc::downgrade(&reader.source))),
        }
    }

    /// Keeps the stream that it is sent on until it has ended.
    pub(super) fn hold(&mut self, lease: StreamLease) {
        if let Self::Streamed(reader) = self {
            reader.source.borrow_mut().lease = Some(lease);
        }
    }

    /// Says that it is sent on a connection of HTTP/1.1.
    pub(super) fn go_to(&mut self, outlet: &Arc<Outlet>) {
        if let Self::Streamed(reader) = self {
            reader.source.borrow_mut().body.iter_mut().for_each(|body| body.go_to(outlet));
        }
    }
}

impl Upload {
    /// Has it end in an error, wherever it is; what has come of it is let go at once.
    pub(super) fn abandon(self) {
        let Some(source) = self.0.upgrade() else { return };
        let (body, reading) = {
            let mut source = source.borrow_mut();
            (source.body.take(), source.reading.take())
        };
        if body.is_none() {
            return;
        }
        drop(body);
        reading.into_iter().for_each(Waker::wake);
        drop(source);
        if self.0.strong_count() > 0 {
            tokio::task::spawn_local(self.strand());
        }
    }

    /// The library waits for the endpoint to take what it has in hand before it looks whether there is more. From one that never does
    /// nobody can take the stream away but with its connection.
    async fn strand(self) {
        sleep(STRANDED).await;
        let lease = self.0.upgrade().and_then(|source| source.borrow_mut().lease.take());
        lease.into_iter().for_each(StreamLease::strand);
    }
}

impl Replay {
    /// The body once more from its beginning; `None` if too much of it has been read. Earlier attempts read nothing more.
    pub(super) fn again(&self) -> Option<RequestBody> {
        let source = match self {
            Self::Empty => return Some(RequestBody::Empty),
            Self::Streamed(source) => source,
        };
        let mut state = source.borrow_mut();
        if !state.complete {
            return None;
        }
        state.attempt += 1;
        Some(RequestBody::Streamed(Reader { source: Rc::clone(source), attempt: state.attempt, given: 0 }))
    }

    /// The first `bytes` bytes of the body, or fewer if it ends before or they are late. They are remembered for the first
    /// attempt, whatever the limit.
    pub(super) async fn prefix(&self, bytes: usize) -> Bytes {
        let Self::Streamed(source) = self else { return Bytes::new() };
        {
            let mut source = source.borrow_mut();
            source.limit = source.limit.max(bytes);
        }
        // Late: what has come must do.
        let _ = timeout(PREFIX_PATIENCE, poll_fn(|cx| source.borrow_mut().poll_prefix(bytes, cx))).await;
        source.borrow().prefix(bytes)
    }

    /// No further attempt will be made: what is remembered is dropped, and nothing more is.
    pub(super) fn forget(&self) {
        if let Self::Streamed(source) = self {
            source.borrow_mut().complete = false;
        }
    }
}

impl Source {
    fn poll_prefix(&mut self, bytes: usize, cx: &mut Context<'_>) -> Poll<()> {
        // What cannot be remembered must not be read: it could not be sent.
        while self.complete && self.share.bytes() < bytes && self.ended.is_none() {
            let Some(body) = &mut self.body else { break };
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(Ok(frame)) => self.remember(&frame),
                Some(Err(error)) => {
                    // Told once, to whoever reads on; nobody else must take what is here for the whole.
                    self.complete = false;
                    self.ended = Some(Some(error));
                }
                None => self.ended = Some(None),
            }
        }
        Poll::Ready(())
    }

    fn prefix(&self, bytes: usize) -> Bytes {
        let mut data = self.remembered.iter().filter_map(|frame| match frame {
            Remembered::Data(data) => Some(data),
            Remembered::Trailers(_) => None,
        });
        let first = data.next().cloned().unwrap_or_default();
        if first.len() >= bytes {
            return first.slice(..bytes);
        }
        let mut prefix = BytesMut::from(&first[..]);
        for data in data {
            let room = bytes - prefix.len();
            prefix.extend_from_slice(&data[..data.len().min(room)]);
        }
        prefix.freeze()
    }

    fn remember(&mut self, frame: &Frame<Bytes>) {
        if !self.complete {
            return;
        }
        let mut has_room = true;
        if let Some(data) = frame.data_ref() {
            has_room = self.share.grow(data.len());
            self.remembered.push_back(Remembered::Data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.remembered.push_back(Remembered::Trailers(trailers.clone()));
        }
        if !has_room || self.share.bytes() > self.limit {
            self.complete = false;
            events::body_outgrew_replay();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streamed(reader) => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streamed(reader) => {
                let source = reader.source.borrow();
                reader.given >= source.remembered.len() && source.body.as_ref().is_some_and(Inflow::is_end_stream)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streamed(reader) => reader.size_hint(),
        }
    }
}

impl Reader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut source = self.source.borrow_mut();
        if source.attempt != self.attempt {
            return Poll::Ready(None);
        }
        if let Some(frame) = source.remembered.get(self.given) {
            self.given += 1;
            let frame = match frame.clone() {
                Remembered::Data(data) => Frame::data(data),
                Remembered::Trailers(trailers) => Frame::trailers(trailers),
            };
            return Poll::Ready(Some(Ok(frame)));
        }
        if !source.complete && !source.remembered.is_empty() {
            // This attempt has given all of it, and there will be no other.
            source.remembered = VecDeque::new();
            source.share.clear();
            self.given = 0;
        }
        if let Some(ended) = source.ended.take() {
            return Poll::Ready(ended.map(|error| Err(error.into())));
        }
        if let Some(gate) = &mut source.gate {
            if gate.as_mut().poll(cx).is_pending() {
                source.reading = Some(cx.waker().clone());
                return Poll::Pending;
            }
            source.gate = None;
        }
        let Some(body) = &mut source.body else {
            return Poll::Ready(Some(Err(BodyError::Abandoned(h2::Reason::CANCEL.into()))));
        };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            source.reading = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Some(Ok(frame)) = &frame {
            let before = source.remembered.len();
            source.remember(frame);
            self.given += source.remembered.len() - before;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.borrow();
        let remembered = source.remembered.iter().skip(self.given).map(|frame| match frame {
            Remembered::Data(data) => data.len() as u64,
            Remembered::Trailers(_) => 0,
        });
        let remembered: u64 = remembered.sum();
        let rest = source.body.as_ref().map_or_else(SizeHint::new, Inflow::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(remembered));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(remembered)) {
            hint.set_upper(upper);
        }
        hint
    }
}

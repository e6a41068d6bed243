//! Bodies of requests: streamed from the client, and kept for a while so that they can be sent a second time.
//!
//! Until an endpoint has answered, what has been read from the client is remembered up to a limit. A body that has
//! outgrown it cannot be sent again, and a request with it is not.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::{HeaderMap, body::Incoming};
use tokio::time::{Duration, timeout};

use super::{buffers::Buffers, inflow::Inflow, replay_budget::Share};
use crate::events;

/// Holds a body back until it ends: the client waits to be told to continue.
pub(super) type Gate = Pin<Box<dyn Future<Output = ()>>>;

/// How long the beginning of a body is waited for. A client may say more only once it is answered, and then the policy has
/// to do with what there is.
const PREFIX_PATIENCE: Duration = Duration::from_secs(1);

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

pub(super) struct Source {
    body: Inflow,
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
            body: Inflow::new(body, &buffers.requests),
            gate,
            remembered: VecDeque::new(),
            share: buffers.replays.share(),
            limit,
            complete: true,
            attempt: 0,
            ended: None,
        };
        let source = Rc::new(RefCell::new(source));
        let reader = Reader { source: Rc::clone(&source), attempt: 0, given: 0 };
        (Self::Streamed(reader), Replay::Streamed(source))
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
        while self.share.bytes() < bytes && self.ended.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
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
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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
                reader.given >= source.remembered.len() && source.body.is_end_stream()
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
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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
            return Poll::Ready(ended.map(Err));
        }
        if let Some(gate) = &mut source.gate {
            ready!(gate.as_mut().poll(cx));
            source.gate = None;
        }
        let frame = ready!(Pin::new(&mut source.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let before = source.remembered.len();
            source.remember(frame);
            self.given += source.remembered.len() - before;
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.source.borrow();
        let remembered = source.remembered.iter().skip(self.given).map(|frame| match frame {
            Remembered::Data(data) => data.len() as u64,
            Remembered::Trailers(_) => 0,
        });
        let remembered: u64 = remembered.sum();
        let rest = source.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(remembered));
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(remembered)) {
            hint.set_upper(upper);
        }
        hint
    }
}

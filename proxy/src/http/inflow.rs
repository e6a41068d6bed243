//! A body as it comes from a peer.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    connection::STREAM_WINDOW,
    unread::{Held, Unread},
};

/// A body, and what is held of it while nobody takes it.
pub struct Inflow {
    body: Incoming,
    held: Option<Held>,
}

impl Inflow {
    /// In the account of what is unread, if it belongs to a stream of HTTP/2.
    pub(super) fn new(body: Incoming, unread: &Rc<Unread>) -> Self {
        let held = if body.is_end_stream() { None } else { Held::by_this_stream(unread) };
        let inflow = Self { body, held };
        inflow.wait();
        inflow
    }

    /// It is nobody's turn but the reader's.
    fn wait(&self) {
        let Some(held) = &self.held else { return };
        let window = u64::from(STREAM_WINDOW);
        let bytes = self.body.size_hint().upper().map_or(window, |rest| rest.min(window));
        held.set(usize::try_from(bytes).unwrap_or(usize::MAX));
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.held.iter().for_each(|held| held.set(0));
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.held = None;
        }
        self.wait();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

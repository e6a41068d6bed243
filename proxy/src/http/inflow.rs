//! A body as it comes from a peer.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{connection::Lease, outlet::Outlet, request_body::Upload, unread::Held};

/// A body, in the account of what nobody reads if it belongs to a stream of HTTP/2.
pub struct Inflow {
    body: Incoming,
    held: Option<Held>,
    /// Where it goes, if that is a connection of HTTP/1.1.
    outlet: Option<Arc<Outlet>>,
}

impl Inflow {
    /// The body of a client's request.
    pub(super) fn of_client(body: Incoming) -> Self {
        let held = if body.is_end_stream() { None } else { Held::by_client() };
        Self { body, held, outlet: None }
    }

    /// The body of a response that comes on this connection.
    pub(super) fn of_endpoint(body: Incoming, lease: &Lease) -> Self {
        let inlet = if body.is_end_stream() { None } else { lease.inlet() };
        Self { body, held: inlet.and_then(Held::by), outlet: None }
    }

    /// Says where it goes from now on.
    pub(super) fn go_to(&mut self, outlet: &Arc<Outlet>) {
        self.outlet = Some(Arc::clone(outlet));
    }

    /// Of a request: what has it end.
    pub(super) fn set_upload(&self, upload: &Upload) {
        self.held.iter().for_each(|held| held.set_upload(upload.clone()));
    }
}

/// What of a body is in a frame of it.
fn length(frame: &Option<Result<Frame<Bytes>, hyper::Error>>) -> usize {
    let Some(Ok(frame)) = frame else { return 0 };
    frame.data_ref().map_or(0, Bytes::len)
}

impl Drop for Inflow {
    /// What is let go with it is held no longer.
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut nobody = Context::from_waker(Waker::noop());
        while let Poll::Ready(frame @ Some(Ok(_))) = Pin::new(&mut self.body).poll_frame(&mut nobody) {
            held.was_taken(length(&frame));
        }
    }
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(outlet) = &self.outlet {
            ready!(outlet.poll_open(cx));
        }
        if self.held.as_ref().is_some_and(|held| held.is_blocked(cx)) {
            return Poll::Pending;
        }
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(frame), Some(outlet)) = (&frame, &self.outlet) {
            outlet.took(length(frame));
        }
        if let Some(held) = &self.held {
            match &frame {
                Poll::Pending => held.is_empty(),
                Poll::Ready(frame) => {
                    held.was_taken(length(frame));
                    held.was_given(length(frame));
                    if self.body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
                        self.held = None;
                    }
                }
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! What goes out on a call, as long as it goes.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use crate::connections::Call;

/// A stream that keeps its connection's place until it has been sent or given up.
pub struct Called<S> {
    stream: S,
    /// None where connections are not counted.
    _call: Option<Call>,
}

impl<S> Called<S> {
    /// What goes out on this call.
    pub(super) fn new(stream: S, call: Option<Call>) -> Self {
        Self { stream, _call: call }
    }
}

impl<S: tokio_stream::Stream + Unpin> tokio_stream::Stream for Called<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.stream).poll_next(cx)
    }
}

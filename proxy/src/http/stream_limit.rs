//! How many streams an endpoint allows on a connection, from the moment it says so.
//!
//! The HTTP library can be asked for the limit, but does not say when it comes: its settings are read by a task of its
//! own. So the connection tells when something has been read, and the limit is looked at again.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

/// The limit before the endpoint has said one: a number that it cannot say.
pub(super) const UNTOLD: usize = usize::MAX - 1;

/// The limit of one connection.
pub(super) struct StreamLimit {
    max: Cell<usize>,
    has_ended: Cell<bool>,
    told: Notify,
    /// Who looks at the limit when something has been read.
    looking: RefCell<Option<Waker>>,
}

/// A connection to an endpoint, up to its settings and beyond.
pub(super) struct Telling<IO> {
    inner: IO,
    limit: Rc<StreamLimit>,
}

impl Default for StreamLimit {
    fn default() -> Self {
        Self { max: UNTOLD.into(), has_ended: false.into(), told: Notify::new(), looking: RefCell::default() }
    }
}

impl StreamLimit {
    /// The limit, if it is known.
    pub(super) fn get(&self) -> Option<usize> {
        Some(self.max.get()).filter(|max| *max != UNTOLD)
    }

    /// Ends when the limit is known, or the connection has ended.
    pub(super) async fn told(&self) {
        // One thread: nobody can tell between the look and this wait.
        if self.get().is_none() && !self.has_ended.get() {
            self.told.notified().await;
        }
    }

    /// The limit is this now.
    pub(super) fn set(&self, max: usize) {
        if self.max.replace(max) != max {
            self.told.notify_waiters();
        }
    }

    /// The connection has ended.
    pub(super) fn end(&self) {
        self.has_ended.set(true);
        self.told.notify_waiters();
    }

    /// Wakes this task when something has been read and the limit is still unknown.
    pub(super) fn look_again(&self, cx: &Context<'_>) {
        if self.get().is_none() {
            self.looking.replace(Some(cx.waker().clone()));
        }
    }
}

impl<IO> Telling<IO> {
    pub(super) fn new(inner: IO, limit: &Rc<StreamLimit>) -> Self {
        Self { inner, limit: Rc::clone(limit) }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Telling<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, out);
        if read.is_ready() && self.limit.get().is_none() {
            // It looks after this task has worked through what was read.
            self.limit.looking.borrow().iter().for_each(Waker::wake_by_ref);
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Telling<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

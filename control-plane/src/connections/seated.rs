//! A connection that ends when its place is taken.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

use super::Seat;

/// A connection that has a place. When that is taken away, reading fails, whoever waits for it.
pub struct Seated<S> {
    stream: S,
    seat: Arc<Seat>,
    /// Until it has ended.
    taken: Option<oneshot::Receiver<()>>,
}

impl<S> Seated<S> {
    /// A connection in this place, until `taken` ends.
    pub fn new(stream: S, seat: Arc<Seat>, taken: oneshot::Receiver<()>) -> Self {
        Self { stream, seat, taken: Some(taken) }
    }

    /// What is below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Its place.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }

    /// Fails when the place has been taken away. Asked before anything else: somebody who never stops sending, or takes nothing,
    /// is to end too.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.taken.as_mut().is_some_and(|taken| Pin::new(taken).poll(cx).is_ready()) {
            self.taken = None;
        }
        match self.taken {
            Some(_) => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "its place is needed")),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Seated<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.seat.heard();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Seated<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

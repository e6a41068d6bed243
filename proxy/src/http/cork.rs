//! Gathers what a connection writes in one turn of its task.
//!
//! The HTTP/2 library gives every frame with a payload to the kernel by itself and asks for it to be flushed at once: an answer of a
//! kilobyte is two calls, and ten that are ready together are twenty. Frames that are small are copied together, and written when the
//! task has nothing more to say. Large ones go as they are, with what was gathered before them.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is gathered before it is written in any case.
const ROOM: usize = 16 * 1024;
/// What is larger than this costs more to copy than to write by itself.
const SMALL: usize = 4 * 1024;

thread_local! {
    /// What the connection that was written last has gathered in: one for all connections that have nothing waiting.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A connection whose writes wait for [`Cork::pull`].
pub(super) struct Corked<IO>(Rc<RefCell<Inner<IO>>>);

/// The other end of it: has what was gathered written. As an executor it does so after each turn of the tasks that it is given: one of
/// them is the connection, where that is a task of its own.
pub(super) struct Cork<IO>(Rc<RefCell<Inner<IO>>>);

struct Inner<IO> {
    io: IO,
    /// What waits, from `at` on.
    gathered: Vec<u8>,
    at: usize,
    /// The task of the connection: others that have something written end, and with them whom to wake when there is room.
    writer: Option<Waker>,
    /// Why the rest could not be written, for whoever writes next.
    failed: Option<io::ErrorKind>,
}

/// Corks a connection. Whoever polls it pulls the cork after each time.
pub(super) fn cork<IO>(io: IO) -> (Corked<IO>, Cork<IO>) {
    let inner = Rc::new(RefCell::new(Inner { io, gathered: Vec::new(), at: 0, writer: None, failed: None }));
    (Corked(Rc::clone(&inner)), Cork(inner))
}

impl<IO> Clone for Cork<IO> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<IO: AsyncWrite + Unpin + 'static, F: Future<Output = ()> + 'static> Executor<F> for Cork<IO> {
    fn execute(&self, task: F) {
        let cork = self.clone();
        tokio::task::spawn_local(async move { cork.pulled_after(pin!(task)).await });
    }
}

impl<IO: AsyncWrite + Unpin> Cork<IO> {
    /// Polls what writes into the corked connection, and then has that written.
    pub(super) async fn pulled_after<F: Future>(&self, mut work: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            let polled = work.as_mut().poll(cx);
            self.pull(cx);
            polled
        })
        .await
    }

    /// Writes what was gathered. What the kernel has no room for is written when it has: the task is woken.
    fn pull(&self, cx: &mut Context<'_>) {
        let mut inner = self.0.borrow_mut();
        let writer = inner.writer.clone();
        let mut cx = writer.as_ref().map_or_else(|| Context::from_waker(cx.waker()), Context::from_waker);
        if let Poll::Ready(Err(error)) = inner.drain(&mut cx) {
            // Told to whoever writes next; that nobody does is told by reading.
            inner.failed = Some(error.kind());
        }
    }
}

impl<IO: AsyncWrite + Unpin> Inner<IO> {
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(failed) = self.failed {
            return Poll::Ready(Err(failed.into()));
        }
        while self.at < self.gathered.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &self.gathered[self.at..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.at += written,
            }
        }
        self.settle();
        Poll::Ready(Ok(()))
    }

    /// Writes what was gathered and this after it; returns how much of this was written.
    fn poll_write_through(&mut self, cx: &mut Context<'_>, data: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        while self.at < self.gathered.len() {
            let mut all = Vec::with_capacity(1 + data.len());
            all.push(IoSlice::new(&self.gathered[self.at..]));
            all.extend_from_slice(data);
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, &all))?;
            let waiting = self.gathered.len() - self.at;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.at += written.min(waiting);
            if written > waiting {
                return Poll::Ready(Ok(written - waiting));
            }
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, data)
    }

    /// Gives the memory back when nothing waits in it.
    fn settle(&mut self) {
        if self.at == self.gathered.len() && !self.gathered.is_empty() {
            self.at = 0;
            self.gathered.clear();
            SPARE.set(std::mem::take(&mut self.gathered));
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Corked<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, out)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Corked<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        if let Some(failed) = inner.failed {
            return Poll::Ready(Err(failed.into()));
        }
        if !inner.writer.as_ref().is_some_and(|writer| writer.will_wake(cx.waker())) {
            inner.writer = Some(cx.waker().clone());
        }
        let all: usize = data.iter().map(|slice| slice.len()).sum();
        if all > SMALL {
            let written = inner.poll_write_through(cx, data);
            inner.settle();
            return written;
        }
        if inner.gathered.len() + all > ROOM {
            ready!(inner.drain(cx))?;
        }
        if inner.gathered.capacity() == 0 {
            inner.gathered = SPARE.take();
            inner.gathered.reserve_exact(ROOM);
        }
        data.iter().for_each(|slice| inner.gathered.extend_from_slice(slice));
        Poll::Ready(Ok(all))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The cork is pulled at the end of the turn.
        match self.0.borrow().failed {
            Some(failed) => Poll::Ready(Err(failed.into())),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.drain(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_is_written_in_one_turn_arrives_together() {
        let (io, mut peer) = duplex(1 << 20);
        let (mut corked, cork) = cork(io);
        let work = async {
            corked.write_all(b"one ").await.unwrap();
            corked.flush().await.unwrap();
            corked.write_all(b"two").await.unwrap();
            std::future::pending::<()>().await;
        };
        let mut work = std::pin::pin!(work);
        let mut read = vec![0; 20];
        let length = tokio::select! {
            () = cork.pulled_after(work.as_mut()) => unreachable!("it goes on for ever"),
            read = peer.read(&mut read) => read.unwrap(),
        };
        assert_eq!(&read[..length], b"one two");
    }

    #[tokio::test]
    async fn much_goes_through_a_narrow_place_in_its_order() {
        let (io, mut peer) = duplex(1000);
        let (mut corked, cork) = cork(io);
        let sent: Vec<u8> = (0..200_000).map(|n| (n % 251) as u8).collect();
        let work = async {
            let (mut rest, mut sizes) = (&sent[..], [1, 3000, 9, SMALL, 40_000, 500, SMALL + 1].into_iter().cycle());
            while !rest.is_empty() {
                let (part, later) = rest.split_at(rest.len().min(sizes.next().unwrap()));
                corked.write_all(part).await.unwrap();
                rest = later;
            }
            corked.shutdown().await.unwrap();
        };
        let mut work = std::pin::pin!(work);
        let mut received = Vec::new();
        tokio::join!(cork.pulled_after(work.as_mut()), async { peer.read_to_end(&mut received).await.unwrap() });
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    }

    #[tokio::test]
    async fn a_failure_is_told_to_whoever_writes_next() {
        let (io, peer) = duplex(1000);
        let (mut corked, cork) = cork(io);
        drop(peer);
        cork.pulled_after(std::pin::pin!(corked.write_all(b"nobody there"))).await.unwrap();
        assert_eq!(corked.write_all(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(corked.flush().await.is_err());
    }
}

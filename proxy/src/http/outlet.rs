//! What is held of bodies for a peer of HTTP/1.1 that does not take them.
//!
//! The library goes on taking a body while it can write none of it, up to a limit that no container has room for a thousand times. So it
//! is given no more of one while something waits to be written, and is read for in small pieces while much is held (`backlog`).

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::backlog::{Backlog, at_once};

/// How much is read at once on a connection. The library keeps room for twice as much from then on.
const FEW: usize = 16 * 1024;

/// The same on a connection that has carried [`MUCH`].
pub(super) const MANY: usize = 64 * 1024;

/// The least that is worth it: the library keeps room for as much in any case.
const LEAST: usize = 8 * 1024;

/// More than the systems at both ends keep for somebody who does not read: `tcp_wmem` is 4 MiB by default, and the window of who reads
/// nothing does not grow.
const MUCH: u64 = 16 << 20;

/// The writing side of a connection. It belongs to one worker; the lock is never waited for, and there because what may be
/// upgraded has to be [`Send`].
#[derive(Default)]
pub(super) struct Outlet(Mutex<State>);

#[derive(Default)]
struct State {
    /// Bytes of bodies that were taken since all was written.
    taken: usize,
    /// While something waits to be written.
    blocked: Option<Backlog>,
    /// The body that waits for it.
    waiting: Option<Waker>,
}

impl Outlet {
    /// Ready when nothing waits to be written.
    pub(super) fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.blocked.is_none() {
            return Poll::Ready(());
        }
        state.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// So much of a body was taken, to be written.
    pub(super) fn took(&self, bytes: usize) {
        self.state().taken += bytes;
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.state();
        match written {
            Poll::Pending if state.blocked.is_none() => state.blocked = Some(Backlog::of(state.taken)),
            // Nothing will be written any more; whoever waits has to find out.
            Poll::Ready(Err(_)) => state.open(),
            Poll::Pending | Poll::Ready(Ok(_)) => {}
        }
    }

    /// The library flushes when it has written all that it had.
    fn has_written_all(&self) {
        self.state().open();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self) {
        self.taken = 0;
        self.blocked = None;
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

/// A connection that says whether what is written goes out.
pub(super) struct Gauged<IO> {
    io: IO,
    outlet: Arc<Outlet>,
    /// Bytes that were read.
    carried: u64,
}

impl<IO> Gauged<IO> {
    pub(super) fn new(io: IO, outlet: &Arc<Outlet>) -> Self {
        Self { io, outlet: Arc::clone(outlet), carried: 0 }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Gauged<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = if self.carried < MUCH { FEW } else { MANY };
        let (most, before) = (at_once(most).max(LEAST), out.remaining());
        if before <= most {
            ready!(Pin::new(&mut self.io).poll_read(cx, out))?;
        } else {
            let mut part = ReadBuf::new(out.initialize_unfilled_to(most));
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
            let read = part.filled().len();
            out.advance(read);
        }
        self.carried += (before - out.remaining()) as u64;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Gauged<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, data);
        self.outlet.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, data);
        self.outlet.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outlet.has_written_all();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    async fn is_open(outlet: &Outlet) -> bool {
        poll_fn(|cx| Poll::Ready(outlet.poll_open(cx).is_ready())).await
    }

    #[tokio::test]
    async fn nothing_more_is_taken_until_all_is_written() {
        let outlet = Arc::<Outlet>::default();
        let (ours, mut theirs) = duplex(10);
        let mut ours = Gauged::new(ours, &outlet);
        assert!(is_open(&outlet).await);
        outlet.took(30);
        let writing = tokio::spawn(async move {
            ours.write_all(&[b'x'; 30]).await.unwrap();
            ours.flush().await.unwrap();
            ours
        });
        while is_open(&outlet).await {
            tokio::task::yield_now().await;
        }
        theirs.read_exact(&mut [0; 10]).await.unwrap();
        // What was written of it has come, and more waits.
        theirs.read_exact(&mut [0; 1]).await.unwrap();
        assert!(!is_open(&outlet).await);
        theirs.read_exact(&mut [0; 9]).await.unwrap();
        poll_fn(|cx| outlet.poll_open(cx)).await;
        let _ours = writing.await.unwrap();
        assert!(is_open(&outlet).await);
    }

    #[tokio::test]
    async fn who_is_gone_holds_nobody_up() {
        let outlet = Arc::<Outlet>::default();
        let (ours, theirs) = duplex(10);
        let mut ours = Gauged::new(ours, &outlet);
        let writing = tokio::spawn(async move { ours.write_all(&[b'x'; 20]).await });
        while is_open(&outlet).await {
            tokio::task::yield_now().await;
        }
        drop(theirs);
        writing.await.unwrap().unwrap_err();
        assert!(is_open(&outlet).await);
    }

    #[tokio::test]
    async fn little_is_read_at_once_before_much_has_been_carried() {
        let (mut theirs, ours) = duplex(MANY);
        let mut ours = Gauged::new(ours, &Arc::default());
        let mut buffer = vec![0; 2 * MANY];
        for (carried, at_once) in [(0, FEW), (MUCH, MANY)] {
            ours.carried = carried;
            theirs.write_all(&vec![b'x'; MANY]).await.unwrap();
            assert_eq!(ours.read(&mut buffer).await.unwrap(), at_once);
            ours.read_exact(&mut buffer[..MANY - at_once]).await.unwrap();
        }
    }
}

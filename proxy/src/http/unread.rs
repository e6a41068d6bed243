//! What is held of bodies over HTTP/2 for peers that do not take them: bounded in all.
//!
//! Each stream has a window, and whoever sends fills it, whether or not the other side reads. One window must not be another's, or a
//! stream that nobody reads would stop all others; so a client that opens many streams and reads none of them has us hold as many
//! windows. Where that becomes more than there is room for, nothing more is read from those who send, until the others have taken what
//! is there or have been [`PATIENCE`] late; then their streams end, the oldest first, and all go on.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use hyper::rt::Executor;
use slab::Slab;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::AbortHandle,
    time::{Duration, Instant, sleep_until},
};

use crate::events;

/// How long a peer may take nothing of a stream while there is no room.
const PATIENCE: Duration = Duration::from_secs(1);

tokio::task_local! {
    /// Ends the stream whose task this is.
    static END: Rc<OnceCell<AbortHandle>>;
}

/// What a worker holds in one direction.
pub(super) struct Unread {
    limit: usize,
    patience: Duration,
    held: Cell<usize>,
    streams: RefCell<Slab<Stream>>,
    /// Those who are not read from for want of room.
    paused: RefCell<Vec<Waker>>,
    is_relieved: Cell<bool>,
}

struct Stream {
    /// How many bytes of it may be held; none while its peer takes what comes.
    bytes: usize,
    since: Instant,
    end: AbortHandle,
}

/// A stream in the account of what is unread.
pub(super) struct Held {
    unread: Rc<Unread>,
    key: usize,
}

impl Unread {
    /// With room for so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            patience: PATIENCE,
            held: Cell::new(0),
            streams: RefCell::default(),
            paused: RefCell::default(),
            is_relieved: Cell::new(false),
        }
    }

    /// Whether there is no room.
    fn is_full(&self) -> bool {
        self.held.get() > self.limit
    }

    /// Wakes this task when there is room.
    fn pause(&self, cx: &Context<'_>) {
        let mut paused = self.paused.borrow_mut();
        if !paused.iter().any(|waker| waker.will_wake(cx.waker())) {
            paused.push(cx.waker().clone());
        }
    }

    fn set_held(self: &Rc<Self>, held: usize) {
        self.held.set(held);
        if !self.is_full() {
            self.paused.take().into_iter().for_each(Waker::wake);
        } else if !self.is_relieved.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).relieve());
        }
    }

    /// Makes room.
    async fn relieve(self: Rc<Self>) {
        events::unread_over_limit();
        while self.is_full() {
            let oldest =
                self.streams.borrow().iter().filter(|(_, stream)| stream.bytes > 0).map(|(_, s)| s.since).min();
            // Something is held, so somebody holds it.
            let Some(oldest) = oldest else { break };
            sleep_until(oldest + self.patience).await;
            self.end_those_who_are_late();
        }
        self.is_relieved.set(false);
    }

    /// As many as it takes for three quarters to be enough: one by one, each would have everybody wait once more.
    fn end_those_who_are_late(self: &Rc<Self>) {
        let now = Instant::now();
        let mut held = self.held.get();
        if !self.is_full() {
            return;
        }
        let mut streams = self.streams.borrow_mut();
        let mut late: Vec<_> =
            streams.iter_mut().map(|(_, s)| s).filter(|s| s.bytes > 0 && s.since + self.patience <= now).collect();
        late.sort_unstable_by_key(|stream| stream.since);
        for stream in late {
            if held <= self.limit / 4 * 3 {
                break;
            }
            // It is dropped on its next turn.
            held -= std::mem::take(&mut stream.bytes);
            stream.end.abort();
            events::unread_stream_ended();
        }
        drop(streams);
        self.set_held(held);
    }
}

impl Held {
    /// Has the stream whose task this is in the account; `None` if it is none of HTTP/2.
    pub(super) fn by_this_stream(unread: &Rc<Unread>) -> Option<Self> {
        let end = END.try_with(|end| end.get().cloned()).ok().flatten()?;
        let key = unread.streams.borrow_mut().insert(Stream { bytes: 0, since: Instant::now(), end });
        Some(Self { unread: Rc::clone(unread), key })
    }

    /// So many bytes may be held of it from now on.
    pub(super) fn set(&self, bytes: usize) {
        let mut streams = self.unread.streams.borrow_mut();
        let stream = &mut streams[self.key];
        let held = self.unread.held.get() - stream.bytes + bytes;
        stream.bytes = bytes;
        if bytes > 0 {
            stream.since = Instant::now();
        }
        drop(streams);
        self.unread.set_held(held);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let stream = self.unread.streams.borrow_mut().remove(self.key);
        self.unread.set_held(self.unread.held.get() - stream.bytes);
    }
}

/// Spawns the streams of a client's connection onto the local set of this thread, so that each can be ended.
#[derive(Clone, Copy)]
pub(super) struct StreamExecutor;

impl<F: Future<Output: 'static> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let end = Rc::<OnceCell<AbortHandle>>::default();
        let task = tokio::task::spawn_local(END.scope(Rc::clone(&end), stream));
        // Before its first turn.
        let _unset = end.set(task.abort_handle());
    }
}

/// A connection that is not read from while there is no room for what might come.
pub(super) struct Patient<IO> {
    inner: IO,
    unread: Rc<Unread>,
}

impl<IO> Patient<IO> {
    pub(super) fn new(inner: IO, unread: &Rc<Unread>) -> Self {
        Self { inner, unread: Rc::clone(unread) }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.is_full() {
            self.unread.pause(cx);
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, out)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        sync::oneshot,
        task::{LocalSet, yield_now},
    };

    use super::*;

    const WINDOW: usize = 100;

    fn room_for(bytes: usize) -> Rc<Unread> {
        Rc::new(Unread { patience: Duration::from_millis(50), ..Unread::new(bytes) })
    }

    /// A stream that holds a window, until it is told to take it. It says when it has ended.
    fn stream(unread: &Rc<Unread>) -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        let (take, taken) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel::<()>();
        let unread = Rc::clone(unread);
        StreamExecutor.execute(async move {
            let _ended = ended;
            let held = Held::by_this_stream(&unread).unwrap();
            held.set(WINDOW);
            let _told = taken.await;
            held.set(0);
            pending::<()>().await;
        });
        (take, has_ended)
    }

    fn locally(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, work);
    }

    #[test]
    fn where_there_is_no_room_the_oldest_that_nobody_reads_end() {
        locally(async {
            let unread = room_for(4 * WINDOW);
            let mut streams = Vec::new();
            for _ in 0..5 {
                streams.push(stream(&unread));
                yield_now().await;
            }
            assert!(unread.is_full());
            for (_, ended) in streams.drain(..2) {
                ended.await.unwrap_err();
            }
            assert_eq!(unread.held.get(), 3 * WINDOW);
            assert!(streams.iter_mut().all(|(_, ended)| ended.try_recv() == Err(oneshot::error::TryRecvError::Empty)));
        });
    }

    #[test]
    fn those_who_take_what_comes_are_let_be() {
        locally(async {
            let unread = room_for(2 * WINDOW);
            let (taking, mut goes_on): (Vec<_>, Vec<_>) = (0..10).map(|_| stream(&unread)).unzip();
            yield_now().await;
            assert!(unread.is_full());
            taking.into_iter().for_each(|take| take.send(()).unwrap());
            while unread.is_relieved.get() {
                yield_now().await;
            }
            assert_eq!(unread.held.get(), 0);
            assert!(goes_on.iter_mut().all(|ended| ended.try_recv() == Err(oneshot::error::TryRecvError::Empty)));
        });
    }

    #[test]
    fn nothing_more_is_read_while_there_is_no_room() {
        locally(async {
            let unread = room_for(WINDOW);
            let streams = [stream(&unread), stream(&unread)];
            yield_now().await;
            let (ours, mut theirs) = duplex(10);
            let mut ours = Patient::new(ours, &unread);
            theirs.write_all(b"x").await.unwrap();
            let begun = Instant::now();
            ours.read_u8().await.unwrap();
            assert!(begun.elapsed() >= unread.patience);
            drop(streams);
        });
    }

    #[test]
    fn what_is_no_stream_of_its_own_is_in_no_account() {
        locally(async { assert!(Held::by_this_stream(&Rc::new(Unread::new(0))).is_none()) });
    }
}

//! What is held of bodies over HTTP/2 for peers that do not take them: bounded in all.
//!
//! Each stream has a window, and whoever sends fills it, whether or not the other side reads. One window must not be another's, or a
//! stream that nobody reads would stop all others; so a client that opens many streams and reads none of them has us hold as many
//! windows. The library does not say how much it holds. But what has come on a connection and was not taken by the bodies of its streams is
//! known, and where all bodies wait for more, that is nothing.
//!
//! Where all connections hold more than there is room for, those that hold much are not read from, until their readers have taken it or
//! have been [`PATIENCE`] late. Then their streams end, the oldest first, and the connections go on. A connection whose streams are read
//! notices nothing of it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use hyper::rt::Executor;
use slab::Slab;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::AbortHandle,
    time::{Duration, Instant, sleep_until},
};

use super::{connection::STREAM_WINDOW, request_body::Upload};
use crate::events;

/// How long a peer may take nothing of a stream of a connection that holds much, while there is no room.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often is looked, then.
const LOOK: Duration = Duration::from_millis(10);

/// What any connection may hold: little enough for thousands, and more than one that is read has for long. Whoever takes less of a stream
/// in [`PATIENCE`] is late as well.
const LITTLE: usize = 16 * 1024;

tokio::task_local! {
    /// The stream of a client whose task this is.
    static STREAM: Rc<ClientStream>;
}

/// A stream of a client.
struct ClientStream {
    connection: Rc<Inlet>,
    end: OnceCell<AbortHandle>,
}

/// What a worker holds in one direction.
pub(super) struct Unread {
    limit: usize,
    patience: Duration,
    held: Cell<usize>,
    bodies: RefCell<Slab<Body>>,
    /// Connections that are not read from for want of room.
    paused: RefCell<Wakers>,
    is_relieved: Cell<bool>,
}

/// A body that is on its way.
struct Body {
    inlet: Rc<Inlet>,
    /// Since when it is somebody's turn to take more of it; `None` while there is nothing to take.
    since: Option<Instant>,
    /// How much has been taken of it since then.
    taken: usize,
    /// Ends its stream.
    end: AbortHandle,
    /// Where it is a request's: it may outlive the stream.
    upload: Option<Upload>,
}

/// What has come on a connection.
pub(super) struct Inlet {
    unread: Rc<Unread>,
    /// Bytes that have come since all bodies waited for more, and what bodies have taken of them.
    come: Cell<usize>,
    taken: Cell<usize>,
    /// How many bodies there are, and how many of them may have more.
    bodies: Cell<usize>,
    full_bodies: Cell<usize>,
    /// What it is taken to hold.
    held: Cell<usize>,
    /// Who reads from it.
    reading: RefCell<Option<Waker>>,
    is_broken_off: Cell<bool>,
    /// The other side takes nothing at the moment.
    is_blocked: Cell<bool>,
    /// Those who have something for it.
    waiting: RefCell<Wakers>,
}

/// A body in the account of what is unread.
pub(super) struct Held {
    inlet: Rc<Inlet>,
    key: usize,
    /// Where it goes, if that is a client.
    outlet: Option<Rc<Inlet>>,
}

/// Tasks to be woken, each once.
#[derive(Default)]
struct Wakers(Vec<Waker>);

impl Wakers {
    fn add(&mut self, cx: &Context<'_>) {
        if !self.0.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.0.push(cx.waker().clone());
        }
    }

    fn wake(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

impl Unread {
    /// With room for so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            patience: PATIENCE,
            held: Cell::new(0),
            bodies: RefCell::default(),
            paused: RefCell::default(),
            is_relieved: Cell::new(false),
        }
    }

    fn is_full(&self) -> bool {
        self.held.get() > self.limit
    }

    fn change_held(self: &Rc<Self>, before: usize, now: usize) {
        let was_full = self.is_full();
        self.held.set(self.held.get() - before + now);
        if was_full && !self.is_full() {
            self.paused.borrow_mut().wake();
        }
        if self.is_full() && !self.is_relieved.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).relieve());
        }
    }

    /// Makes room.
    async fn relieve(self: Rc<Self>) {
        events::unread_over_limit();
        while self.is_full() {
            // Where all who hold much are read, they will have read it soon.
            let oldest = self.bodies.borrow().iter().filter_map(|(_, body)| body.late_since()).min();
            let soon = Instant::now() + LOOK;
            sleep_until(oldest.map_or(soon, |oldest| soon.max(oldest + self.patience))).await;
            self.end_those_who_are_late();
        }
        self.is_relieved.set(false);
    }

    /// As many as it takes for three quarters to be enough: one by one, each would have the others wait once more.
    fn end_those_who_are_late(&self) {
        if !self.is_full() {
            return;
        }
        let now = Instant::now();
        let mut bodies = self.bodies.borrow_mut();
        let mut late: Vec<_> = bodies
            .iter_mut()
            .filter_map(|(_, body)| Some((body.late_since()?, body)))
            .filter(|(since, body)| *since + self.patience <= now && body.can_end())
            .collect();
        late.sort_unstable_by_key(|(since, _)| *since);
        let (mut held, mut uploads) = (self.held.get(), Vec::new());
        for (_, body) in late {
            if held <= self.limit / 4 * 3 {
                break;
            }
            // It is dropped on its next turn, and what it holds with it.
            held = held.saturating_sub(body.inlet.held.get() / body.inlet.full_bodies.get().max(1));
            body.end.abort();
            uploads.extend(body.upload.take());
            events::unread_stream_ended();
        }
        drop(bodies);
        uploads.into_iter().for_each(Upload::abandon);
    }
}

impl Body {
    /// Whether anything would come of ending it.
    fn can_end(&self) -> bool {
        self.upload.is_some() || !self.end.is_finished()
    }

    /// Since when it is not read, if it is one of a connection that holds much.
    fn late_since(&self) -> Option<Instant> {
        self.since.filter(|_| self.inlet.holds_much())
    }
}

impl Inlet {
    /// Of a new connection.
    pub(super) fn new(unread: &Rc<Unread>) -> Rc<Self> {
        Rc::new(Self {
            unread: Rc::clone(unread),
            come: Cell::new(0),
            taken: Cell::new(0),
            bodies: Cell::new(0),
            full_bodies: Cell::new(0),
            held: Cell::new(0),
            reading: RefCell::default(),
            is_broken_off: Cell::new(false),
            is_blocked: Cell::new(false),
            waiting: RefCell::default(),
        })
    }

    /// Ends the connection with an error.
    pub(super) fn break_off(&self) {
        self.is_broken_off.set(true);
        self.reading.take().into_iter().for_each(Waker::wake);
    }

    fn holds_much(&self) -> bool {
        self.held.get() > LITTLE
    }

    /// Whether nothing more may come for now.
    fn is_paused(&self) -> bool {
        self.unread.is_full() && self.holds_much()
    }

    fn has_come(&self, bytes: usize) {
        if self.bodies.get() > 0 {
            self.come.set(self.come.get() + bytes);
            self.count();
        }
    }

    fn was_taken(&self, bytes: usize) {
        self.taken.set(self.taken.get() + bytes);
        self.count();
    }

    fn set_full_bodies(&self, bodies: usize) {
        self.full_bodies.set(bodies);
        if bodies == 0 {
            self.come.set(0);
            self.taken.set(0);
        }
        self.count();
    }

    /// Heads and the frames themselves have come as well and nobody takes them: no body holds more than its window.
    fn count(&self) {
        let most = self.full_bodies.get().saturating_mul(STREAM_WINDOW as usize);
        let held = self.come.get().saturating_sub(self.taken.get()).min(most);
        let before = self.held.replace(held);
        if before != held {
            self.unread.change_held(before, held);
        }
        if before > LITTLE && held <= LITTLE {
            // It may be read again, whatever the others hold.
            self.unread.paused.borrow_mut().wake();
        }
    }
}

impl Held {
    /// Has a body that comes in by a connection in the account, for as long as the stream of the client whose task this is lives. `None`
    /// if it is the task of none.
    pub(super) fn by(inlet: &Rc<Inlet>) -> Option<Self> {
        let stream = STREAM.try_with(Rc::clone).ok()?;
        let end = stream.end.get()?.clone();
        let body = Body { inlet: Rc::clone(inlet), since: Some(Instant::now()), taken: 0, end, upload: None };
        let key = inlet.unread.bodies.borrow_mut().insert(body);
        inlet.bodies.set(inlet.bodies.get() + 1);
        inlet.set_full_bodies(inlet.full_bodies.get() + 1);
        let outlet = Some(&stream.connection).filter(|client| !Rc::ptr_eq(client, inlet)).map(Rc::clone);
        Some(Self { inlet: Rc::clone(inlet), key, outlet })
    }

    /// The same for a body of the client itself.
    pub(super) fn by_client() -> Option<Self> {
        let connection = STREAM.try_with(|stream| Rc::clone(&stream.connection)).ok()?;
        Self::by(&connection)
    }

    /// Whether whoever reads takes nothing at the moment: what is given to it now would be held there.
    pub(super) fn is_blocked(&self, cx: &Context<'_>) -> bool {
        let Some(outlet) = self.outlet.as_ref().filter(|outlet| outlet.is_blocked.get()) else { return false };
        outlet.waiting.borrow_mut().add(cx);
        // There may be something by now, and it is not looked at.
        self.set_full(true);
        true
    }

    /// Of a request: what has it end.
    pub(super) fn set_upload(&self, upload: Upload) {
        self.inlet.unread.bodies.borrow_mut()[self.key].upload = Some(upload);
    }

    /// So much was taken of it, and there may be more.
    pub(super) fn was_taken(&self, bytes: usize) {
        self.set_full(true);
        {
            let body = &mut self.inlet.unread.bodies.borrow_mut()[self.key];
            body.taken += bytes;
            // Drop by drop is not taken either.
            if body.taken > LITTLE {
                (body.since, body.taken) = (Some(Instant::now()), 0);
            }
        }
        self.inlet.was_taken(bytes);
    }

    /// Nothing is there to be taken.
    pub(super) fn is_empty(&self) {
        self.set_full(false);
    }

    fn set_full(&self, is_full: bool) {
        let bodies = self.inlet.full_bodies.get();
        {
            let body = &mut self.inlet.unread.bodies.borrow_mut()[self.key];
            if body.since.is_some() == is_full {
                return;
            }
            (body.since, body.taken) = (is_full.then(Instant::now), 0);
        }
        self.inlet.set_full_bodies(if is_full { bodies + 1 } else { bodies - 1 });
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set_full(false);
        self.inlet.bodies.set(self.inlet.bodies.get() - 1);
        self.inlet.unread.bodies.borrow_mut().remove(self.key);
    }
}

/// Spawns the streams of a client's connection onto the local set of this thread, so that each can be ended.
#[derive(Clone)]
pub(super) struct StreamExecutor(pub(super) Rc<Inlet>);

impl<F: Future<Output: 'static> + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, task: F) {
        let stream = Rc::new(ClientStream { connection: Rc::clone(&self.0), end: OnceCell::new() });
        let spawned = tokio::task::spawn_local(STREAM.scope(Rc::clone(&stream), task));
        // Before its first turn.
        let _unset = stream.end.set(spawned.abort_handle());
    }
}

/// A connection that is not read from while it holds much and there is no room, and that says when nothing can be written.
pub(super) struct Patient<IO> {
    io: IO,
    inlet: Rc<Inlet>,
}

impl<IO> Patient<IO> {
    pub(super) fn new(io: IO, inlet: &Rc<Inlet>) -> Self {
        Self { io, inlet: Rc::clone(inlet) }
    }

    fn note<T>(&self, written: Poll<T>) -> Poll<T> {
        let was_blocked = self.inlet.is_blocked.replace(written.is_pending());
        if was_blocked && written.is_ready() {
            self.inlet.waiting.borrow_mut().wake();
        }
        written
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.inlet.is_paused() {
            self.inlet.unread.paused.borrow_mut().add(cx);
            return Poll::Pending;
        }
        if self.inlet.is_broken_off.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = out.remaining();
        let read = Pin::new(&mut self.io).poll_read(cx, out);
        if read.is_pending() {
            let mut reading = self.inlet.reading.borrow_mut();
            if !reading.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *reading = Some(cx.waker().clone());
            }
        }
        ready!(read)?;
        self.inlet.has_come(before - out.remaining());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, data);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, data);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
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

    const WINDOW: usize = STREAM_WINDOW as usize;

    fn room_for(windows: usize) -> Rc<Unread> {
        Rc::new(Unread { patience: Duration::from_millis(50), ..Unread::new(windows * WINDOW) })
    }

    /// A stream of whose body a window has come, until it is told to take it. It says when it has ended.
    fn stream(endpoint: &Rc<Inlet>) -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
        let (take, taken) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel::<()>();
        let endpoint = Rc::clone(endpoint);
        let client = Inlet::new(&room_for(1));
        StreamExecutor(client).execute(async move {
            let _ended = ended;
            let held = Held::by(&endpoint).unwrap();
            endpoint.has_come(WINDOW);
            let _told = taken.await;
            held.was_taken(WINDOW);
            held.is_empty();
            pending::<()>().await;
        });
        (take, has_ended)
    }

    fn goes_on(ended: &mut oneshot::Receiver<()>) -> bool {
        ended.try_recv() == Err(oneshot::error::TryRecvError::Empty)
    }

    fn locally(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, work);
    }

    #[test]
    fn where_there_is_no_room_the_oldest_that_nobody_reads_end() {
        locally(async {
            let unread = room_for(4);
            let endpoint = Inlet::new(&unread);
            let mut streams = Vec::new();
            for _ in 0..5 {
                streams.push(stream(&endpoint));
                yield_now().await;
            }
            assert!(unread.is_full());
            for (_, ended) in streams.drain(..2) {
                ended.await.unwrap_err();
            }
            assert_eq!(unread.held.get(), 3 * WINDOW);
            assert!(streams.iter_mut().all(|(_, ended)| goes_on(ended)));
        });
    }

    #[test]
    fn those_who_take_what_comes_are_let_be() {
        locally(async {
            let unread = room_for(2);
            let endpoint = Inlet::new(&unread);
            let (taking, mut ends): (Vec<_>, Vec<_>) = (0..10).map(|_| stream(&endpoint)).unzip();
            yield_now().await;
            assert!(unread.is_full());
            taking.into_iter().for_each(|take| take.send(()).unwrap());
            while unread.is_relieved.get() {
                yield_now().await;
            }
            assert_eq!(unread.held.get(), 0);
            assert!(ends.iter_mut().all(goes_on));
        });
    }

    #[test]
    fn only_those_who_hold_much_wait_for_room() {
        locally(async {
            let unread = room_for(1);
            let (hog, quiet) = (Inlet::new(&unread), Inlet::new(&unread));
            let streams = [stream(&hog), stream(&hog)];
            let _small = stream(&quiet);
            yield_now().await;
            quiet.was_taken(WINDOW - LITTLE);
            assert!(hog.is_paused() && !quiet.is_paused());
            let (ours, mut theirs) = duplex(10);
            let mut ours = Patient::new(ours, &hog);
            theirs.write_all(b"x").await.unwrap();
            // It is read once streams have ended.
            ours.read_u8().await.unwrap();
            assert!(!unread.is_full());
            drop(streams);
        });
    }

    #[test]
    fn nothing_is_held_where_all_bodies_wait_for_more() {
        locally(async {
            let unread = room_for(1);
            let endpoint = Inlet::new(&unread);
            endpoint.has_come(1000);
            assert_eq!(unread.held.get(), 0, "heads and the like belong to no body");
            let (take, _) = stream(&endpoint);
            yield_now().await;
            endpoint.has_come(1000);
            assert_eq!(unread.held.get(), WINDOW, "no more than its window is a body's");
            take.send(()).unwrap();
            yield_now().await;
            assert_eq!(unread.held.get(), 0);
        });
    }

    #[test]
    fn what_is_no_stream_of_a_client_is_in_no_account() {
        locally(async { assert!(Held::by(&Inlet::new(&room_for(1))).is_none()) });
    }
}

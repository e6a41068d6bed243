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

mod held;
mod inlet;
mod patient;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};

use slab::Slab;
use tokio::{
    task::AbortHandle,
    time::{Duration, Instant, sleep_until},
};

use super::request_body::Upload;
use crate::events;
pub(super) use held::{Held, StreamExecutor};
pub(super) use inlet::Inlet;
pub(super) use patient::Patient;

/// How long a peer may take nothing of a stream of a connection that holds much, while there is no room.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often is looked, then.
const LOOK: Duration = Duration::from_millis(10);

/// What any connection may hold: little enough for thousands, and more than one that is read has for long. Whoever takes less of a stream
/// in [`PATIENCE`] is late as well.
const LITTLE: usize = 16 * 1024;

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
            held = held.saturating_sub(body.inlet.part());
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

#[cfg(test)]
mod tests {
    use std::future::pending;

    use hyper::rt::Executor as _;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        sync::oneshot,
        task::{LocalSet, yield_now},
    };

    use super::*;
    use crate::http::connection::STREAM_WINDOW;

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

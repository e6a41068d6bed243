//! What has come on one connection, and what of it is held.

use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::{LITTLE, Unread, Wakers};
use crate::http::connection::STREAM_WINDOW;

/// How much is given to a connection to which nothing can be written at the moment: enough for one write when something can. One frame
/// at a time takes a fifth more of the CPU.
const AHEAD: usize = 64 * 1024;

/// What has come on a connection.
pub(in crate::http) struct Inlet {
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
    /// How often something was written.
    writes: Cell<u64>,
    /// The other side takes nothing at the moment.
    is_blocked: Cell<bool>,
    /// What was given to it while that was so, and was not written since.
    given: Cell<usize>,
    /// Those who have something for it.
    waiting: RefCell<Wakers>,
}

impl Inlet {
    /// Of a new connection.
    pub(in crate::http) fn new(unread: &Rc<Unread>) -> Rc<Self> {
        Rc::new(Self {
            unread: Rc::clone(unread),
            come: Cell::new(0),
            taken: Cell::new(0),
            bodies: Cell::new(0),
            full_bodies: Cell::new(0),
            held: Cell::new(0),
            reading: RefCell::default(),
            is_broken_off: Cell::new(false),
            writes: Cell::new(0),
            is_blocked: Cell::new(false),
            given: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// The account that it is in.
    pub(super) fn unread(&self) -> &Unread {
        &self.unread
    }

    /// Ends the connection with an error.
    pub(in crate::http) fn break_off(&self) {
        self.is_broken_off.set(true);
        self.reading.take().into_iter().for_each(Waker::wake);
    }

    /// Whether it may be read from; else this task is woken when it may. An error if it was broken off.
    pub(super) fn poll_room(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut reading = self.reading.borrow_mut();
        if !reading.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *reading = Some(cx.waker().clone());
        }
        if self.is_broken_off.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.is_paused() {
            self.unread.paused.borrow_mut().add(cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Something was to be written.
    pub(super) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = written {
            self.writes.set(self.writes.get() + 1);
            self.given.set(self.given.get().saturating_sub(*bytes));
        }
        if self.is_blocked.replace(written.is_pending()) && written.is_ready() {
            self.waiting.borrow_mut().wake();
        }
    }

    /// How often something was written.
    pub(in crate::http) fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// Whether nothing was written since, nor waits to be: another task may still write what the kernel had no room for.
    pub(in crate::http) fn has_written_nothing_since(&self, writes: u64) -> bool {
        self.writes.get() == writes && !self.is_blocked.get()
    }

    /// So much was given to it, to be written.
    pub(super) fn was_given(&self, bytes: usize) {
        if self.is_blocked.get() {
            self.given.set(self.given.get() + bytes);
        }
    }

    /// Whether nothing can be written at the moment, and enough waits for it; then this task is woken when something can.
    pub(super) fn is_blocked(&self, cx: &Context<'_>) -> bool {
        let is_blocked = self.is_blocked.get() && self.given.get() >= AHEAD;
        if is_blocked {
            self.waiting.borrow_mut().add(cx);
        }
        is_blocked
    }

    /// One more body; it may have something at once.
    pub(super) fn add_body(&self) {
        self.bodies.set(self.bodies.get() + 1);
        self.set_full_bodies(self.full_bodies.get() + 1);
    }

    /// A body that had nothing any more has gone.
    pub(super) fn remove_body(&self) {
        self.bodies.set(self.bodies.get() - 1);
    }

    /// A body has something from now on, or nothing any more.
    pub(super) fn set_full(&self, is_full: bool) {
        let bodies = self.full_bodies.get();
        self.set_full_bodies(if is_full { bodies + 1 } else { bodies - 1 });
    }

    /// What one of the bodies that have something holds, if all hold the same.
    pub(super) fn part(&self) -> usize {
        self.held.get() / self.full_bodies.get().max(1)
    }

    pub(super) fn holds_much(&self) -> bool {
        self.held.get() > LITTLE
    }

    /// Whether nothing more may come for now.
    pub(super) fn is_paused(&self) -> bool {
        self.unread.is_full() && self.holds_much()
    }

    pub(super) fn has_come(&self, bytes: usize) {
        if self.bodies.get() > 0 {
            self.come.set(self.come.get() + bytes);
            self.count();
        }
    }

    pub(super) fn was_taken(&self, bytes: usize) {
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

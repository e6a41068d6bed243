//! Connections of one worker to one endpoint.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};

use super::{
    buffers::Buffers,
    connection::{Http1Connection, Http2Connection, StreamLease},
    version::HttpVersion,
};
use crate::{clock::now_us, http1::Upstream, tcp::ConnectError, worker::Slot};

/// Idle HTTP/1.1 connections beyond this number are closed instead of kept.
const MAX_IDLE: usize = 512;

/// A connection that nobody has used for this long is closed. Below the 60 to 75 s after which most servers do.
const MAX_IDLE_US: u64 = 50_000_000;

/// Connections to one endpoint, idle ones of HTTP/1.1 and all of HTTP/2.
#[derive(Default)]
pub struct Pool {
    http1: Kept<Http1Connection>,
    /// Those of [`crate::http1`].
    plain: Kept<Upstream>,
    http2: RefCell<Vec<Shared>>,
    /// Told whenever an attempt to open an HTTP/2 connection has ended.
    opened: Rc<Notify>,
    opening: Rc<Cell<bool>>,
    /// How many of them have failed, and how the last one did.
    failures: Rc<Cell<(u64, OpenFailed)>>,
}

/// Why no HTTP/2 connection came about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum OpenFailed {
    /// The endpoint cannot be connected to.
    #[default]
    Unreachable,
    /// It closed the connection before anything was asked, as it does in a restart.
    Closed,
    /// The system had no socket.
    NoSocket,
}

impl From<ConnectError> for OpenFailed {
    fn from(error: ConnectError) -> Self {
        if matches!(error, ConnectError::NoSocket) { Self::NoSocket } else { Self::Unreachable }
    }
}

/// Connections with one request at a time that wait for the next, the one used last at the end.
struct Kept<C>(RefCell<VecDeque<Idle<C>>>);

struct Idle<C> {
    connection: C,
    since_us: u64,
}

/// A connection that may be kept.
trait Keep: Sized {
    /// Whether it is known to be closed.
    fn is_closed(&self) -> bool;

    /// Whether it can take a request at this moment.
    fn is_ready(&self) -> bool;

    /// The same after it has answered, which ended at `now_us`.
    fn into_reused(self, now_us: u64) -> Self;
}

struct Shared {
    connection: Rc<Http2Connection>,
    last_used_us: u64,
}

/// How a stream for a request is to be had.
pub(super) enum Http2Turn {
    /// Here it is.
    Stream(StreamLease),
    /// Somebody is opening a connection; look again when told.
    Wait(Rc<Notify>),
    /// Nobody is: open one. Others wait until this is dropped.
    Open(Opening),
}

/// The right to open the next HTTP/2 connection: a crowd of requests to a new endpoint shares one connection and does not
/// open one each.
pub(super) struct Opening {
    opened: Rc<Notify>,
    opening: Rc<Cell<bool>>,
    failures: Rc<Cell<(u64, OpenFailed)>>,
}

impl Pool {
    /// An idle HTTP/1.1 connection that is still open, as far as is known.
    pub fn take_http1(&self) -> Option<Http1Connection> {
        self.http1.take()
    }

    /// Keeps a connection whose last response has been read whole.
    pub(super) fn give_back(&self, connection: Http1Connection) {
        self.http1.give_back(connection);
    }

    /// The same for plain requests.
    pub fn take_plain(&self) -> Option<Upstream> {
        self.plain.take()
    }

    /// The same for plain requests.
    pub fn give_back_plain(&self, connection: Upstream) {
        self.plain.give_back(connection);
    }

    /// Closes connections for plain requests that are of no use any more: nobody else watches them while no request comes.
    pub fn sweep(&self) {
        self.plain.sweep();
    }

    /// Closes connections that nobody uses at the moment.
    pub fn close_idle(&self) {
        self.http1.clear();
        self.plain.clear();
        self.http2.borrow_mut().retain(|shared| !shared.connection.is_idle());
    }

    /// A stream of an HTTP/2 connection, or what to do to get one.
    pub(super) fn http2_turn(&self) -> Http2Turn {
        let now = now_us();
        let mut shared = self.http2.borrow_mut();
        let oldest = now.saturating_sub(MAX_IDLE_US);
        shared.retain(|s| !s.connection.is_closed() && (!s.connection.is_idle() || s.last_used_us >= oldest));
        for candidate in shared.iter_mut() {
            if let Some(lease) = candidate.connection.lease() {
                candidate.last_used_us = now;
                return Http2Turn::Stream(lease);
            }
        }
        if self.opening.replace(true) {
            return Http2Turn::Wait(Rc::clone(&self.opened));
        }
        Http2Turn::Open(Opening {
            opened: Rc::clone(&self.opened),
            opening: Rc::clone(&self.opening),
            failures: Rc::clone(&self.failures),
        })
    }

    /// How many attempts to open an HTTP/2 connection have failed so far, and how the last one did.
    pub(super) fn http2_failures(&self) -> (u64, OpenFailed) {
        self.failures.get()
    }

    /// Adds a connection that has been opened.
    pub(super) fn add_http2(&self, connection: Rc<Http2Connection>) {
        self.http2.borrow_mut().push(Shared { connection, last_used_us: now_us() });
    }
}

impl<C> Default for Kept<C> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<C: Keep> Kept<C> {
    /// The one used last, since it is the least likely to have been closed.
    fn take(&self) -> Option<C> {
        let mut idle = self.0.borrow_mut();
        let oldest = now_us().saturating_sub(MAX_IDLE_US);
        let mut finishing = Vec::new();
        let mut taken = None;
        while let Some(last) = idle.pop_back() {
            if last.connection.is_closed() {
                continue;
            }
            if last.since_us < oldest {
                // All others have been idle for longer.
                idle.clear();
                break;
            }
            if last.connection.is_ready() {
                taken = Some(last.connection);
                break;
            }
            // It has just been given back and its task has not come round to it yet.
            finishing.push(last);
        }
        idle.extend(finishing.into_iter().rev());
        taken
    }

    fn clear(&self) {
        self.0.borrow_mut().clear();
    }

    fn sweep(&self) {
        let oldest = now_us().saturating_sub(MAX_IDLE_US);
        self.0.borrow_mut().retain(|idle| idle.since_us >= oldest && !idle.connection.is_closed());
    }

    fn give_back(&self, connection: C) {
        let mut idle = self.0.borrow_mut();
        let now = now_us();
        let oldest = now.saturating_sub(MAX_IDLE_US);
        while idle.front().is_some_and(|first| first.since_us < oldest || first.connection.is_closed()) {
            idle.pop_front();
        }
        if idle.len() < MAX_IDLE && !connection.is_closed() {
            idle.push_back(Idle { connection: connection.into_reused(now), since_us: now });
        }
    }
}

impl Keep for Http1Connection {
    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }

    fn into_reused(self, now_us: u64) -> Self {
        Self::into_reused(self, now_us)
    }
}

impl Keep for Upstream {
    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn into_reused(self, now_us: u64) -> Self {
        Self::into_reused(self, now_us)
    }
}

/// Keeps a connection to an endpoint, on which nothing has been asked yet, for the requests to come.
pub async fn keep(
    buffers: &Buffers,
    slot: &Slot,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    version: HttpVersion,
) {
    // If it breaks now, the first request opens another.
    match version {
        HttpVersion::Http1 => {
            if let Ok(connection) = Http1Connection::open(stream).await {
                slot.pool.give_back(connection);
            }
        }
        HttpVersion::Http2 => {
            if let Ok(connection) = Http2Connection::open(stream, &buffers.responses).await {
                slot.pool.add_http2(connection);
            }
        }
    }
}

impl Opening {
    /// No connection has come of it: those who wait need not find that out one after the other.
    pub(super) fn failed(self, how: OpenFailed) {
        self.failures.set((self.failures.get().0 + 1, how));
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.opening.set(false);
        self.opened.notify_waiters();
    }
}

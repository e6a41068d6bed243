//! Copies bytes both ways until both sides have ended.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Stream, stream::Reader};
use crate::backlog::{Backlog, at_once};

/// Bytes that are read at once to begin with, and so what each direction of a connection holds whose other end has never read.
/// HAProxy's default.
const FEW: usize = 16 * 1024;

/// Bytes that are read at once where they come and go that fast: a quarter of the system calls. Also the most that a direction holds.
const MANY: usize = 64 * 1024;

thread_local! {
    /// What all connections of a worker read into: one that is idle holds no buffer, and there may be thousands.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; MANY].into());
}

/// What came of a relay.
#[derive(Debug)]
pub struct Relayed {
    /// Bytes from the client to the backend.
    pub sent: u64,
    /// Bytes from the backend to the client.
    pub received: u64,
    /// Whether both sides ended in order.
    pub ending: io::Result<()>,
}

/// Copies both ways. The end of one direction is passed on and the other goes on, so half-closed connections work. A side
/// that breaks breaks the other: a reset must not look like an orderly end, or a cut transfer looks complete.
pub async fn relay(client: &mut impl Stream, backend: &mut impl Stream) -> Relayed {
    let (sent, received) = (Cell::new(0), Cell::new(0));
    let ending = both_ways(client, backend, &sent, &received).await;
    if ending.is_err() {
        client.refuse();
        backend.refuse();
    }
    Relayed { sent: sent.get(), received: received.get(), ending }
}

async fn both_ways(
    client: &mut impl Stream,
    backend: &mut impl Stream,
    sent: &Cell<u64>,
    received: &Cell<u64>,
) -> io::Result<()> {
    let ((from_client, to_client), (from_backend, to_backend)) = (client.halves(), backend.halves());
    let mut up = pin!(forward(from_client, to_backend, sent));
    let mut down = pin!(forward(from_backend, to_client, received));
    tokio::select! {
        biased;
        client = &mut up => unless_broken(client?, down).await,
        backend = &mut down => unless_broken(backend?, up).await,
    }
}

/// The other direction, once one side has ended its own.
///
/// Nothing is read from that side any more, so it must be watched: a client that has closed its connection and is gone looks
/// like one that listens on, until its system answers keepalive probes with a reset. Without that a backend that is silent for
/// ever would keep the connections of all clients that have long given it up.
async fn unless_broken<R>(ended: impl Reader, other: impl Future<Output = io::Result<R>>) -> io::Result<()> {
    tokio::select! {
        biased;
        result = other => result.map(drop),
        error = ended.broken() => Err(error),
    }
}

/// Copies one way until the end of what is read, and passes that on. Gives back what it has read from.
async fn forward<R: Reader>(mut from: R, mut to: impl AsyncWrite + Unpin, copied: &Cell<u64>) -> io::Result<R> {
    let mut copy = Copy { held: BytesMut::new(), backlog: None, at_once: FEW, is_flushed: true, copied };
    poll_fn(|cx| copy.poll(&mut from, &mut to, cx)).await?;
    to.shutdown().await?;
    Ok(from)
}

/// One direction under way.
struct Copy<'a> {
    /// What was read and could not be written yet.
    held: BytesMut,
    backlog: Option<Backlog>,
    /// How much is read at once: more and more while all of it is there and can be written.
    at_once: usize,
    is_flushed: bool,
    /// What is written is counted at once, because a copy that breaks does not tell.
    copied: &'a Cell<u64>,
}

impl Copy<'_> {
    /// Ready at the end of `from`, when all of it is written.
    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.held.is_empty() {
                let written = ready!(self.write(to, &self.held, cx))?;
                self.held.advance(written);
                if self.held.is_empty() {
                    self.held = BytesMut::new();
                    self.backlog = None;
                }
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(&mut scratch[..at_once(self.at_once)]);
                ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
                let mut rest = buffer.filled();
                let (is_end, is_full) = (rest.is_empty(), rest.len() == self.at_once);
                if is_full {
                    self.at_once = (self.at_once * 2).min(MANY);
                }
                while !rest.is_empty() {
                    match self.write(to, rest, cx)? {
                        Poll::Ready(written) => rest = &rest[written..],
                        Poll::Pending => {
                            self.held.extend_from_slice(rest);
                            self.backlog = Some(Backlog::of(rest.len()));
                            self.at_once = FEW;
                            break;
                        }
                    }
                }
                self.is_flushed = is_end;
                Poll::Ready(io::Result::Ok(is_end))
            });
            match read? {
                Poll::Ready(true) => return Poll::Ready(Ok(())),
                Poll::Ready(false) => {}
                Poll::Pending => {
                    if !self.is_flushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.is_flushed = true;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn write(&self, to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(to).poll_write(cx, bytes))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.copied.set(self.copied.get() + written as u64);
        Poll::Ready(Ok(written))
    }
}

//! Copies bytes both ways until both sides have ended.

use std::{
    cell::RefCell,
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

/// The backend broke the connection before anything had passed: it died with the connection in its queue. It has got nothing and the
/// client has heard nothing, so another backend may take its place.
#[derive(Debug)]
pub(super) struct Untouched {
    /// How it broke.
    pub why: io::Error,
    /// What the client has said, and nobody has got.
    pub unsent: BytesMut,
}

/// Copies both ways. The end of one direction is passed on and the other goes on, so half-closed connections work. A side
/// that breaks breaks the other: a reset must not look like an orderly end, or a cut transfer looks complete.
pub async fn relay(client: &mut impl Stream, backend: &mut impl Stream) -> Relayed {
    try_relay(client, backend).await.unwrap_or_else(|untouched| {
        client.refuse();
        Relayed { sent: 0, received: 0, ending: Err(untouched.why) }
    })
}

/// The same, where there may be another backend.
///
/// # Errors
/// When the backend broke the connection before anything had passed. The client's connection goes on then.
pub(super) async fn try_relay(client: &mut impl Stream, backend: &mut impl Stream) -> Result<Relayed, Untouched> {
    let (mut up, mut down) = (Copy::new(client.take_prefix()), Copy::new(BytesMut::new()));
    let ending = both_ways(client, backend, &mut up, &mut down).await;
    let has_passed = up.copied > 0 || down.copied > 0 || !down.held.is_empty();
    let ending = match ending {
        Err(Broken { why, by: Side::Backend }) if !has_passed => return Err(Untouched { why, unsent: up.held }),
        Err(Broken { why, .. }) => {
            client.refuse();
            backend.refuse();
            Err(why)
        }
        Ok(()) => Ok(()),
    };
    Ok(Relayed { sent: up.copied, received: down.copied, ending })
}

/// How a relay broke.
struct Broken {
    why: io::Error,
    by: Side,
}

enum Side {
    /// Which had not ended its own direction before.
    Backend,
    Either,
}

impl Broken {
    fn upward(cut: Cut) -> Self {
        match cut {
            Cut::Reading(why) => Self { why, by: Side::Either },
            Cut::Writing(why) => Self { why, by: Side::Backend },
        }
    }

    fn downward(cut: Cut) -> Self {
        match cut {
            Cut::Reading(why) => Self { why, by: Side::Backend },
            Cut::Writing(why) => Self { why, by: Side::Either },
        }
    }

    fn later(why: io::Error) -> Self {
        Self { why, by: Side::Either }
    }
}

/// Nothing is read any more from a side that has ended its own direction, so it must be watched: a client that has closed its
/// connection and is gone looks like one that listens on, until its system answers keepalive probes with a reset. Without that a
/// backend that is silent for ever would keep the connections of all clients that have long given it up.
async fn both_ways(
    client: &mut impl Stream,
    backend: &mut impl Stream,
    up: &mut Copy,
    down: &mut Copy,
) -> Result<(), Broken> {
    let ((from_client, to_client), (from_backend, to_backend)) = (client.halves(), backend.halves());
    let mut up = pin!(up.forward(from_client, to_backend));
    let mut down = pin!(down.forward(from_backend, to_client));
    tokio::select! {
        biased;
        ended = &mut up => {
            let client = ended.map_err(Broken::upward)?;
            tokio::select! {
                biased;
                ended = down => ended.map(drop).map_err(|cut| Broken::later(cut.into())),
                why = client.broken() => Err(Broken::later(why)),
            }
        }
        ended = &mut down => {
            let backend = ended.map_err(Broken::downward)?;
            tokio::select! {
                biased;
                ended = up => ended.map(drop).map_err(|cut| Broken::later(cut.into())),
                why = backend.broken() => Err(Broken::later(why)),
            }
        }
    }
}

/// One direction under way.
struct Copy {
    /// What was read and could not be written yet, or not any more.
    held: BytesMut,
    backlog: Option<Backlog>,
    /// How much is read at once: more and more while all of it is there and can be written.
    at_once: usize,
    is_flushed: bool,
    /// Bytes that were written.
    copied: u64,
}

/// Where a direction broke.
enum Cut {
    Reading(io::Error),
    Writing(io::Error),
}

impl From<Cut> for io::Error {
    fn from((Cut::Reading(why) | Cut::Writing(why)): Cut) -> Self {
        why
    }
}

impl Copy {
    /// `first` has been read already.
    fn new(first: BytesMut) -> Self {
        Self { is_flushed: first.is_empty(), held: first, backlog: None, at_once: FEW, copied: 0 }
    }

    /// Copies until the end of what is read, and passes that on. Gives back what it has read from.
    async fn forward<R: Reader>(&mut self, mut from: R, mut to: impl AsyncWrite + Unpin) -> Result<R, Cut> {
        poll_fn(|cx| self.poll(&mut from, &mut to, cx)).await?;
        to.shutdown().await.map_err(Cut::Writing)?;
        Ok(from)
    }

    /// Ready at the end of `from`, when all of it is written.
    fn poll(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Cut>> {
        loop {
            while !self.held.is_empty() {
                let written = ready!(write(to, &self.held, cx)).map_err(Cut::Writing)?;
                self.copied += written as u64;
                self.held.advance(written);
                if self.held.is_empty() {
                    self.held = BytesMut::new();
                    self.backlog = None;
                }
            }
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(&mut scratch[..at_once(self.at_once)]);
                ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer)).map_err(Cut::Reading)?;
                let mut rest = buffer.filled();
                let (is_end, is_full) = (rest.is_empty(), rest.len() == self.at_once);
                if is_full {
                    self.at_once = (self.at_once * 2).min(MANY);
                }
                while !rest.is_empty() {
                    match write(to, rest, cx) {
                        Poll::Ready(Ok(written)) => {
                            self.copied += written as u64;
                            rest = &rest[written..];
                        }
                        Poll::Ready(Err(why)) => {
                            self.held.extend_from_slice(rest);
                            return Poll::Ready(Err(Cut::Writing(why)));
                        }
                        Poll::Pending => {
                            self.held.extend_from_slice(rest);
                            self.backlog = Some(Backlog::of(rest.len()));
                            self.at_once = FEW;
                            break;
                        }
                    }
                }
                self.is_flushed = is_end;
                Poll::Ready(Ok(is_end))
            });
            match read? {
                Poll::Ready(true) => return Poll::Ready(Ok(())),
                Poll::Ready(false) => {}
                Poll::Pending => {
                    if !self.is_flushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(Cut::Writing)?;
                        self.is_flushed = true;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Writes at least a byte.
fn write(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let written = ready!(Pin::new(to).poll_write(cx, bytes))?;
    if written == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    Poll::Ready(Ok(written))
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
        time::timeout,
    };

    use super::*;
    use crate::tcp::Prefixed;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// The proxy's end of a connection, and the other.
    async fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (ours, listener.accept().await.unwrap().0)
    }

    /// A backend that has broken its connection, as this end knows by now.
    async fn broken() -> TcpStream {
        let (ours, theirs) = connection().await;
        theirs.refuse();
        drop(theirs);
        ours.readable().await.unwrap();
        ours
    }

    async fn at_last<T>(work: impl Future<Output = T>) -> T {
        timeout(PATIENCE, work).await.expect("it comes to an end")
    }

    fn said(client: TcpStream, words: &[u8]) -> Prefixed<TcpStream> {
        Prefixed::new(BytesMut::from(words), client)
    }

    #[tokio::test]
    async fn a_backend_that_breaks_at_once_leaves_the_client_for_another() {
        let (client, mut person) = connection().await;
        let mut client = said(client, b"hello");
        let untouched = at_last(try_relay(&mut client, &mut broken().await)).await.unwrap_err();
        assert_eq!(untouched.unsent, b"hello"[..]);

        client.put_back(untouched.unsent);
        let (mut backend, mut server) = connection().await;
        server.write_all(b"and to you").await.unwrap();
        drop(person.shutdown().await);
        let (relayed, heard) = at_last(async {
            tokio::join!(try_relay(&mut client, &mut backend), async {
                let mut heard = Vec::new();
                server.read_to_end(&mut heard).await.unwrap();
                server.shutdown().await.unwrap();
                heard
            })
        })
        .await;
        let Relayed { sent, received, ending } = relayed.unwrap();
        assert_eq!((heard, sent, received), (b"hello".to_vec(), 5, 10));
        ending.unwrap();
        drop(client);
        let mut heard = Vec::new();
        at_last(person.read_to_end(&mut heard)).await.unwrap();
        assert_eq!(heard, b"and to you");
    }

    #[tokio::test]
    async fn a_client_that_is_silent_is_left_too_and_one_that_has_ended_is_not() {
        let (mut client, person) = connection().await;
        assert!(at_last(try_relay(&mut client, &mut broken().await)).await.unwrap_err().unsent.is_empty());
        drop(person);
        client.readable().await.unwrap();
        at_last(try_relay(&mut client, &mut broken().await)).await.unwrap().ending.unwrap_err();
    }

    #[tokio::test]
    async fn what_a_backend_may_have_got_goes_to_no_other() {
        let (client, _person) = connection().await;
        let mut client = said(client, b"once");
        let (mut backend, server) = connection().await;
        let (relayed, ()) = at_last(async {
            tokio::join!(try_relay(&mut client, &mut backend), async {
                server.readable().await.unwrap();
                server.refuse();
                drop(server);
            })
        })
        .await;
        let relayed = relayed.unwrap();
        assert_eq!(relayed.sent, 4);
        relayed.ending.unwrap_err();
    }

    #[tokio::test]
    async fn a_backend_that_ends_in_order_has_answered() {
        let (mut client, mut person) = connection().await;
        let (mut backend, server) = connection().await;
        drop(server);
        drop(person.shutdown().await);
        at_last(try_relay(&mut client, &mut backend)).await.unwrap().ending.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_breaks_is_no_backends_doing() {
        let (mut backend, _server) = connection().await;
        at_last(try_relay(&mut broken().await, &mut backend)).await.unwrap().ending.unwrap_err();
    }
}

//! A client's connection, from one request to the next.

use std::{
    fmt::Display,
    future::poll_fn,
    io,
    net::IpAddr,
    pin::Pin,
    rc::{Rc, Weak},
    task::Poll,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncWriteExt, ReadBuf},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    answer::{LAST_CHUNK, write_chunk},
    fields,
    forward::{Answered, Unanswered, forward},
    framing::Framing,
    reading,
    request::{self, Form, Plain},
};
use crate::{
    backlog::Backlog,
    clock::now_us,
    destination::Destination,
    events,
    http::Failure,
    limits::Limits,
    tcp::Stream,
    worker::{Cell, Routed, Worker},
};

/// What a client that says nothing may keep of the room that its last request has needed.
const KEPT_BYTES: usize = 1024;

/// A connection on which nothing has been asked for this long is closed in a drain: by then no request is on its way.
const QUIET_IN_DRAIN: Duration = Duration::from_secs(1);

/// How long a body is waited for whose head is here.
const BODY_PATIENCE: Duration = Duration::from_millis(5);

/// Where the requests of a connection go.
pub enum Front {
    /// Where it was captured on its way to.
    Captured(Destination),
    /// Where each of them says.
    Proxy,
}

struct Client<IO> {
    io: IO,
    /// What has come and has not been let go.
    input: Vec<u8>,
    /// How many bytes of it are the request that is being answered. They stay until then, for somebody else may have to answer it.
    taken: usize,
}

/// What comes next on a client's connection.
enum Next {
    Plain(Plain),
    /// For somebody else.
    Other,
    /// It has to come first.
    More,
    /// The head is here, and its body is not.
    Body,
    /// Nothing.
    Ended,
}

/// The connection cannot go on.
struct Broken;

impl Broken {
    fn because(why: impl Display) -> Self {
        events::client_connection_broken(&why);
        Self
    }
}

/// Serves requests as long as they are plain. Returns the connection with the first that is not, for somebody else to go on;
/// `None` if it has ended.
pub async fn serve<IO: Stream>(worker: &Rc<Worker>, io: IO, front: &Front) -> Option<(BytesMut, IO)> {
    let peer = io.peer();
    let mut client = Client { io, input: Vec::new(), taken: 0 };
    let form = if matches!(front, Front::Proxy) { Form::Absolute } else { Form::Origin };
    let idle_timeout = worker.config.client_idle_timeout;
    let mut silence = std::pin::pin!(sleep_until(Instant::now() + idle_timeout));
    let mut drain = std::pin::pin!(worker.config.drain.begun());
    let (mut since, mut patience) = (Instant::now(), idle_timeout);
    // Where the last request went: a captured connection goes there as long as nothing changes. It does not keep what has been
    // replaced, with connections to endpoints that are gone.
    let mut known: Weak<Cell> = Weak::new();
    loop {
        let mut body_until = None;
        let next = loop {
            match client.next(form, &worker.config.limits) {
                Next::More => {}
                Next::Body => {
                    // It is nearly always there by now. A client may as well wait to be refused before it sends it.
                    let until = *body_until.get_or_insert_with(|| Instant::now() + BODY_PATIENCE);
                    match timeout_at(until, client.read()).await {
                        Ok(Ok(1..)) => continue,
                        Ok(_) | Err(_) => break Next::Other,
                    }
                }
                next => break next,
            }
            tokio::select! {
                biased;
                read = client.read() => match read {
                    // What has begun and not ended is for somebody else to judge.
                    Ok(0) if !client.input.is_empty() => break Next::Other,
                    Ok(0) => break Next::Ended,
                    Ok(_) => {}
                    Err(error) => {
                        events::client_connection_broken(&error);
                        break Next::Ended;
                    }
                },
                () = &mut drain, if patience != QUIET_IN_DRAIN => {
                    (since, patience) = (Instant::now(), QUIET_IN_DRAIN);
                    silence.as_mut().reset(since + patience);
                }
                // Set once, and again only when it has gone off: nearly all requests come before.
                () = &mut silence => {
                    if since.elapsed() < patience {
                        silence.as_mut().reset(since + patience);
                    } else if patience == idle_timeout {
                        events::client_silent();
                        break Next::Ended;
                    } else if client.input.is_empty() {
                        break Next::Ended;
                    } else {
                        break Next::Other;
                    }
                }
            }
        };
        let plain = match next {
            Next::Plain(plain) => plain,
            Next::Ended => return None,
            Next::Other | Next::More | Next::Body => return Some(client.into_parts()),
        };
        let destination = match (&plain.destination, front) {
            (Some(destination), _) | (None, Front::Captured(destination)) => destination.clone(),
            (None, Front::Proxy) => return Some(client.into_parts()),
        };
        let cell = match known.upgrade().filter(|cell| plain.destination.is_none() && worker.is_newest(cell)) {
            Some(cell) => {
                cell.touch(now_us());
                cell
            }
            None => match worker.route(&destination).await {
                Routed::Mesh(cell) => cell,
                _ => return Some(client.into_parts()),
            },
        };
        known = Rc::downgrade(&cell);
        client.taken = plain.taken;
        match client.exchange(worker, &destination, peer, &cell, plain).await {
            Ok(After::Goes) => {
                client.let_go();
                since = Instant::now();
            }
            Ok(After::Elsewhere) => return Some(client.into_parts()),
            Ok(After::Ends) => {
                // What has been said must not be lost by a reset.
                let _ = client.io.shutdown().await;
                return None;
            }
            Err(Broken) => return None,
        }
    }
}

/// What becomes of a connection after a request.
enum After {
    /// It goes on.
    Goes,
    /// It ends.
    Ends,
    /// Somebody else goes on, with this request.
    Elsewhere,
}

impl After {
    fn of(goes_on: bool) -> Self {
        if goes_on { Self::Goes } else { Self::Ends }
    }
}

impl<IO: Stream> Client<IO> {
    /// What has come.
    fn next(&self, form: Form, limits: &Limits) -> Next {
        if self.input.is_empty() {
            return Next::More;
        }
        match request::read(&self.input, form) {
            request::Read::Partial if self.input.len() < limits.header_bytes => Next::More,
            request::Read::Bodiless => Next::Body,
            request::Read::Partial | request::Read::Other => Next::Other,
            request::Read::Plain(plain) => {
                let body = plain.body().len();
                let is_within = plain.taken - body <= limits.header_bytes && body <= limits.replay_bytes;
                if is_within { Next::Plain(plain) } else { Next::Other }
            }
        }
    }

    /// Forgets the request that has been answered, and what a long one has needed.
    fn let_go(&mut self) {
        self.input.drain(..std::mem::take(&mut self.taken));
        if self.input.is_empty() && self.input.capacity() > KEPT_BYTES {
            self.input = Vec::new();
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        reading::read(&mut self.io, &mut self.input).await
    }

    /// Ends when the client has gone. What it says meanwhile is kept, and it is not listened to any further.
    async fn gone(&mut self) {
        poll_fn(|cx| {
            if self.input.len() > self.taken {
                return Poll::Pending;
            }
            let mut byte = [0];
            let mut byte = ReadBuf::new(&mut byte);
            match Pin::new(&mut self.io).poll_read(cx, &mut byte) {
                Poll::Ready(Ok(())) if !byte.filled().is_empty() => {
                    self.input.extend_from_slice(byte.filled());
                    Poll::Pending
                }
                Poll::Ready(_) => Poll::Ready(()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
    }

    /// From a request to the end of its answer.
    async fn exchange(
        &mut self,
        worker: &Rc<Worker>,
        destination: &Destination,
        peer: Option<IpAddr>,
        cell: &Rc<Cell>,
        plain: Plain,
    ) -> Result<After, Broken> {
        let (is_head, is_last) = (plain.is_head, plain.ends);
        let ends = || is_last || worker.config.drain.has_begun();
        let answered = match worker.config.limits.enter_request(cell.waiting()) {
            None => Err(Unanswered { failure: Failure::overload(), started_us: None }),
            Some(_in_flight) => {
                let plain = Rc::new(plain);
                tokio::select! {
                    biased;
                    answered = forward(worker, destination, peer, cell, &plain, ends) => answered,
                    () = self.gone() => return Err(Broken::because("the client has gone before it was answered")),
                }
            }
        };
        match answered {
            Ok(answered) => {
                self.let_go();
                self.relay(answered).await.map(After::of)
            }
            // The Service has gone while one of its endpoints was being connected to.
            Err(Unanswered { failure, .. })
                if failure.reason().is_for_want_of_endpoints()
                    && matches!(worker.route(destination).await, Routed::Passthrough(_)) =>
            {
                Ok(After::Elsewhere)
            }
            Err(Unanswered { failure, started_us }) => {
                started_us.into_iter().for_each(|started_us| {
                    cell.metrics().failed(failure.reason(), now_us().saturating_sub(started_us));
                });
                let is_news = worker.may_complain(failure.detail());
                events::answered_by_proxy(failure.reason(), failure.detail(), is_news);
                let ends = ends();
                self.write(&own_answer(&failure, is_head, ends)).await?;
                Ok(After::of(!ends))
            }
        }
    }

    /// Passes an answer on as it comes. Says whether the connection goes on.
    async fn relay(&mut self, answered: Answered) -> Result<bool, Broken> {
        let Answered { exchange, mut upstream, head, ends, mut out, mut rest } = answered;
        let mut framing = head.framing;
        loop {
            let Ok((taken, ended)) = framing.take(&rest) else {
                exchange.broke();
                return Err(Broken::because("the endpoint's answer is no HTTP"));
            };
            let bytes = match head.wants_chunks {
                true => {
                    write_chunk(&mut out, &rest[..taken]);
                    &out[..]
                }
                // One write for the head and what has come with it.
                false if !out.is_empty() => {
                    out.extend_from_slice(&rest[..taken]);
                    &out[..]
                }
                false => &rest[..taken],
            };
            if ended {
                // Before the client sees its end, so that whoever asks then sees it counted.
                exchange.done((head.keeps && taken == rest.len()).then_some(upstream));
                self.write(bytes).await?;
                return Ok(!ends);
            }
            if let Err(broken) = self.write(bytes).await {
                exchange.abandoned();
                return Err(broken);
            }
            out.clear();
            out.shrink_to(KEPT_BYTES);
            let read = tokio::select! {
                biased;
                read = upstream.read_on(&mut rest) => read,
                () = self.gone() => {
                    exchange.abandoned();
                    return Err(Broken::because("the client has gone before the end of its answer"));
                }
            };
            match read {
                Ok(1..) => {}
                Ok(_) if framing == Framing::UntilClose => {
                    exchange.done(None);
                    if head.wants_chunks {
                        self.write(LAST_CHUNK).await?;
                    }
                    return Ok(head.wants_chunks && !ends);
                }
                Ok(_) | Err(_) => {
                    exchange.broke();
                    return Err(Broken::because("the endpoint has broken off its answer"));
                }
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let _held = Backlog::of(bytes.len());
        self.io.write_all(bytes).await.map_err(Broken::because)
    }

    fn into_parts(self) -> (BytesMut, IO) {
        (BytesMut::from(&self.input[..]), self.io)
    }
}

/// What the proxy answers itself.
fn own_answer(failure: &Failure, to_head: bool, ends: bool) -> Vec<u8> {
    let (status, text) = (failure.reason().status(), failure.text());
    let mut out =
        format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or_default()).into_bytes();
    fields::write(&mut out, "content-type", b"text/plain; charset=utf-8");
    fields::write(&mut out, "wasmesh-error", failure.reason().as_str().as_bytes());
    fields::write(&mut out, "content-length", text.len().to_string().as_bytes());
    if ends {
        fields::write(&mut out, "connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(text.as_bytes());
    }
    out
}

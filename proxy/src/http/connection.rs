//! Connections to endpoints that can take a request.

use std::{cell::Cell, future::poll_fn, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    cork::cork,
    heard_out::HeardOut,
    outlet::{Gauged, Outlet},
    request_body::RequestBody,
    stream_limit::{StreamLimit, Telling, UNTOLD},
    unread::{Inlet, Patient, Unread},
};
use crate::http1::MAX_HEAD_BYTES;

/// How many bytes of one HTTP/2 stream may be on their way to us and not yet taken by the other side. With a
/// millisecond to the other end that is 256 MB/s.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;

/// How many bytes of one HTTP/2 stream may wait to be written. What is beyond stays where it comes from.
pub(super) const UNSENT_BYTES: usize = 64 * 1024;

/// Streams of one connection to an endpoint, however many more it allows.
const MAX_STREAMS: u32 = 100;

/// The windows of a stream and of a connection of so many streams: the streams that nobody reads can never use up the
/// connection's, or they would hold up all others.
pub(super) fn windows(streams: u32) -> (u32, u32) {
    const LARGEST: u32 = i32::MAX.unsigned_abs();
    (STREAM_WINDOW, STREAM_WINDOW.saturating_mul(streams).min(LARGEST))
}

/// So many streams that we have reset are remembered for so long: frames of theirs may still be on their way, and the library would count
/// each of those of others against the endpoint.
const REMEMBERED_RESETS: usize = 4096;
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// With so many of the latter, over its whole life, a connection ends. Clients that break off downloads must not get there: its other
/// streams would end with it.
pub(super) const STRAY_FRAMES: usize = 16_384;

/// The longest head of a response over HTTP/2.
const RESPONSE_HEAD_BYTES: u32 = 256 * 1024;

/// No server closes a connection for having been idle for less than this.
const SHORTEST_IDLE_US: u64 = 1_000_000;

/// One HTTP/1.1 connection: one request at a time.
pub struct Http1Connection {
    sender: http1::SendRequest<RequestBody>,
    /// When its last answer had ended, if it has answered before: the endpoint may have closed it since.
    answered_us: Option<u64>,
    outlet: Arc<Outlet>,
}

/// One HTTP/2 connection, shared by its streams.
pub(super) struct Http2Connection {
    sender: http2::SendRequest<RequestBody>,
    streams: Cell<usize>,
    /// How many of them nobody wants any more, and cannot be had to end.
    stranded: Cell<usize>,
    limit: Rc<StreamLimit>,
    inlet: Rc<Inlet>,
    /// It has answered before.
    answered: Cell<bool>,
    /// That it broke has been noted.
    is_noted: Cell<bool>,
}

/// What one request is sent on.
pub enum Lease {
    /// A connection to itself.
    Http1(Http1Connection),
    /// A stream of a shared connection.
    Http2(StreamLease),
}

/// One of the streams of a connection; counted until all that hold it have let go: the request's body may outlive the response.
#[derive(Clone)]
pub struct StreamLease(Rc<Counted>);

struct Counted(Rc<Http2Connection>);

impl Http1Connection {
    /// Speaks HTTP/1.1 on a fresh connection.
    pub(super) async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Self> {
        let outlet = Arc::<Outlet>::default();
        let stream = Gauged::new(HeardOut::new(stream), &outlet);
        let (sender, connection) = http1::Builder::new()
            .preserve_header_case(true)
            .max_buf_size(MAX_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::task::spawn_local(async move {
            // Its errors reach the request that suffers them.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, answered_us: None, outlet })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// The same connection after it has answered, which ended at `now_us`.
    pub(super) fn into_reused(self, now_us: u64) -> Self {
        Self { answered_us: Some(now_us), ..self }
    }
}

impl Http2Connection {
    /// Speaks HTTP/2 with prior knowledge on a fresh connection.
    pub(super) async fn open(
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        unread: &Rc<Unread>,
    ) -> hyper::Result<Rc<Self>> {
        let (stream_window, connection_window) = windows(MAX_STREAMS);
        let (limit, inlet) = (Rc::<StreamLimit>::default(), Inlet::new(unread));
        let (stream, cork) = cork(HeardOut::new(Patient::new(stream, &inlet)));
        let (sender, mut connection) = http2::Builder::new(cork)
            .initial_max_send_streams(UNTOLD)
            .initial_stream_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .timer(TokioTimer::new())
            .max_header_list_size(RESPONSE_HEAD_BYTES)
            .max_send_buf_size(UNSENT_BYTES)
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .reset_stream_duration(REMEMBERED_FOR)
            .max_local_error_reset_streams(STRAY_FRAMES)
            .handshake(TokioIo::new(Telling::new(stream, &limit)))
            .await?;
        let told = Rc::clone(&limit);
        // Its errors reach the requests that suffer them.
        tokio::task::spawn_local(poll_fn(move |cx| {
            told.look_again(cx);
            let ended = Pin::new(&mut connection).poll(cx).map(|_| ());
            told.set(connection.current_max_send_streams());
            ended.map(|()| told.end())
        }));
        let (answered, is_noted) = (Cell::new(false), Cell::new(false));
        Ok(Rc::new(Self { sender, streams: Cell::new(0), stranded: Cell::new(0), limit, inlet, answered, is_noted }))
    }

    /// Whether the endpoint has said how many streams it allows.
    pub(super) fn is_limit_told(&self) -> bool {
        self.limit.get().is_some()
    }

    /// Ends when the endpoint has said how many streams it allows, or the connection has ended.
    pub(super) async fn limit_told(&self) {
        self.limit.told().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// A stream, if the endpoint's limit (SETTINGS_MAX_CONCURRENT_STREAMS) leaves one. hyper would queue beyond it, and
    /// what is queued behind streams that do not end is never sent. Until the limit is known it may be one.
    pub(super) fn lease(self: &Rc<Self>) -> Option<StreamLease> {
        let max_streams = self.limit.get().map_or(1, |told| told.min(MAX_STREAMS as usize));
        (!self.is_closed() && self.stranded.get() == 0 && self.streams.get() < max_streams).then(|| {
            self.streams.set(self.streams.get() + 1);
            StreamLease(Rc::new(Counted(Rc::clone(self))))
        })
    }
}

impl StreamLease {
    /// Its stream cannot be had to end. Its connection takes no more, and ends with the last of them that somebody wants.
    pub(super) fn strand(self) {
        let connection = &self.0.0;
        connection.stranded.set(connection.stranded.get() + 1);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        if self.0.stranded.get() > 0 && self.0.is_idle() {
            self.0.inlet.break_off();
        }
    }
}

impl Lease {
    /// Whether the connection has answered before, so that its end says nothing of the endpoint.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.answered_us.is_some(),
            Self::Http2(lease) => lease.0.0.answered.get(),
        }
    }

    /// Whether the connection was in use a moment before `sent_us`, so that the endpoint cannot have closed it for being
    /// idle.
    pub(super) fn was_busy(&self, sent_us: u64) -> bool {
        match self {
            Self::Http1(connection) => {
                connection.answered_us.is_some_and(|answered| sent_us.saturating_sub(answered) < SHORTEST_IDLE_US)
            }
            Self::Http2(_) => false,
        }
    }

    /// What has come on its connection, where that is HTTP/2.
    pub(super) fn inlet(&self) -> Option<&Rc<Inlet>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(lease) => Some(&lease.0.0.inlet),
        }
    }

    /// Whether this is the first request to note that the connection broke: to all its streams that is one failure.
    pub(super) fn is_first_to_note(&self) -> bool {
        match self {
            Self::Http1(_) => true,
            Self::Http2(lease) => !lease.0.0.is_noted.replace(true),
        }
    }

    /// Sends a request. An error gives it back if no byte of it was written.
    pub(super) async fn send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(connection) => {
                request.body_mut().go_to(&connection.outlet);
                connection.sender.try_send_request(request).await
            }
            Self::Http2(lease) => {
                request.body_mut().hold(lease.clone());
                let connection = &lease.0.0;
                let response = connection.sender.clone().try_send_request(request).await?;
                connection.answered.set(true);
                Ok(response)
            }
        }
    }
}

/// Whether an endpoint has said that it has not looked at a request: it may be sent again, whatever it is (RFC 9113,
/// section 8.7).
pub(super) fn unprocessed(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (refused || error.is_go_away())
    })
}

/// Whether an endpoint has reset the stream: its connection lives on.
pub(super) fn is_stream_reset(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| error.is_reset() && error.is_remote())
}

fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.filter_map(|error| error.downcast_ref()).next()
}

//! Connections to endpoints that can take a request.

use std::{cell::Cell, future::poll_fn, pin::Pin, rc::Rc};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::{TrySendError, http1, http2},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{executor::LocalExecutor, request_body::RequestBody};

/// One HTTP/1.1 connection: one request at a time.
pub struct Http1Connection {
    sender: http1::SendRequest<RequestBody>,
    /// It has answered before, so the endpoint may have closed it since.
    reused: bool,
}

/// One HTTP/2 connection, shared by its streams.
pub(super) struct Http2Connection {
    sender: http2::SendRequest<RequestBody>,
    streams: Cell<usize>,
    /// What the endpoint allows, as of the last request that was sent.
    max_streams: Rc<Cell<usize>>,
}

/// What one request is sent on.
pub enum Lease {
    /// A connection to itself.
    Http1(Http1Connection),
    /// A stream of a shared connection.
    Http2(StreamLease),
}

/// One of the streams of a connection; counted until it is dropped.
pub struct StreamLease(Rc<Http2Connection>);

impl Http1Connection {
    /// Speaks HTTP/1.1 on a fresh connection.
    pub(super) async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Self> {
        let (sender, connection) =
            http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(async move {
            // Its errors reach the request that suffers them.
            let _ = connection.with_upgrades().await;
        });
        Ok(Self { sender, reused: false })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// The same connection after it has answered.
    pub(super) fn into_reused(self) -> Self {
        Self { reused: true, ..self }
    }
}

impl Http2Connection {
    /// Speaks HTTP/2 with prior knowledge on a fresh connection.
    pub(super) async fn open(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> hyper::Result<Rc<Self>> {
        let (sender, mut connection) =
            http2::Builder::new(LocalExecutor).timer(TokioTimer::new()).handshake(TokioIo::new(stream)).await?;
        let max_streams = Rc::new(Cell::new(connection.current_max_send_streams()));
        let told = Rc::clone(&max_streams);
        // Its errors reach the requests that suffer them.
        tokio::task::spawn_local(poll_fn(move |cx| {
            let ended = Pin::new(&mut connection).poll(cx).map(|_| ());
            told.set(connection.current_max_send_streams());
            ended
        }));
        Ok(Rc::new(Self { sender, streams: Cell::new(0), max_streams }))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// A stream, if the endpoint's limit (SETTINGS_MAX_CONCURRENT_STREAMS) leaves one. hyper would queue beyond it.
    pub(super) fn lease(self: &Rc<Self>) -> Option<StreamLease> {
        (!self.is_closed() && self.streams.get() < self.max_streams.get()).then(|| {
            self.streams.set(self.streams.get() + 1);
            StreamLease(Rc::clone(self))
        })
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

impl Lease {
    /// Whether the endpoint may have closed the connection before it saw the request.
    pub(super) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.reused,
            // Streams are refused one by one; see `unprocessed`.
            Self::Http2(_) => false,
        }
    }

    /// Sends a request. An error gives it back if no byte of it was written.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(connection) => connection.sender.try_send_request(request).await,
            Self::Http2(lease) => lease.0.sender.clone().try_send_request(request).await,
        }
    }
}

/// Whether an endpoint has said that it has not looked at a request: it may be sent again, whatever it is (RFC 9113,
/// section 8.7).
pub(super) fn unprocessed(error: &hyper::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
            return error.is_remote() && (refused || error.is_go_away());
        }
        cause = error.source();
    }
    false
}

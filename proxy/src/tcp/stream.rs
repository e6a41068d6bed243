//! Either end of a connection, however it came about.

use std::{
    future::{self, Future},
    io,
    net::IpAddr,
    time::Duration,
};

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadHalf, WriteHalf},
    net::{TcpStream, tcp},
};

use super::Prefixed;

/// A connection that can be closed with an error.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// What comes from the other end.
    type Reader<'a>: Reader;
    /// What goes there.
    type Writer<'a>: AsyncWrite + Unpin;

    /// Both directions, each for itself.
    fn halves(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>);

    /// Makes the coming close as much of an error as this kind of connection can tell.
    fn refuse(&self);

    /// What was read ahead of it, as far as nobody has had it yet. Whoever takes it gives it on.
    fn take_prefix(&mut self) -> BytesMut {
        BytesMut::new()
    }

    /// The address of the other end, if it has one.
    fn peer(&self) -> Option<IpAddr> {
        None
    }
}

/// What comes from the other end of a connection.
pub trait Reader: AsyncRead + Unpin {
    /// Ends when the connection breaks, also after its end has been read. Never, where nobody can tell.
    fn broken(&self) -> impl Future<Output = io::Error>;
}

impl Reader for tcp::ReadHalf<'_> {
    async fn broken(&self) -> io::Error {
        let error = match self.ready(Interest::ERROR).await {
            Ok(_) => self.as_ref().take_error().ok().flatten(),
            Err(error) => Some(error),
        };
        error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl Reader for ReadHalf<&mut TokioIo<Upgraded>> {
    fn broken(&self) -> impl Future<Output = io::Error> {
        future::pending()
    }
}

impl<R: Reader> Reader for Prefixed<R> {
    fn broken(&self) -> impl Future<Output = io::Error> {
        self.get_ref().broken()
    }
}

impl Stream for TcpStream {
    type Reader<'a> = tcp::ReadHalf<'a>;
    type Writer<'a> = tcp::WriteHalf<'a>;

    fn halves(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        self.split()
    }

    /// A reset: an orderly close would look like an empty answer, or like the end of a transfer.
    fn refuse(&self) {
        // It fails only on a connection that is already gone.
        let _ = SockRef::from(self).set_linger(Some(Duration::ZERO));
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer_addr().ok().map(|peer| peer.ip())
    }
}

impl Stream for TokioIo<Upgraded> {
    type Reader<'a> = ReadHalf<&'a mut Self>;
    type Writer<'a> = WriteHalf<&'a mut Self>;

    fn halves(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        tokio::io::split(self)
    }

    /// What is inside an HTTP connection can only be closed.
    fn refuse(&self) {}
}

impl<S: Stream> Stream for Prefixed<S> {
    type Reader<'a> = Prefixed<S::Reader<'a>>;
    type Writer<'a> = S::Writer<'a>;

    fn halves(&mut self) -> (Self::Reader<'_>, Self::Writer<'_>) {
        let prefix = Prefixed::take_prefix(self);
        let (reader, writer) = self.get_mut().halves();
        (Prefixed::new(prefix, reader), writer)
    }

    fn refuse(&self) {
        self.get_ref().refuse();
    }

    fn take_prefix(&mut self) -> BytesMut {
        Self::take_prefix(self)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.get_ref().peer()
    }
}

/// Sets what every connection of the proxy has: no delay of small writes, and keepalive probes, since it stands between
/// the two whose own probes would have noticed that the other is gone.
pub fn prepare(connection: &TcpStream) {
    let socket = SockRef::from(connection);
    let probes =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);
    // Both fail only on a connection that is already gone.
    let _ = connection.set_nodelay(true);
    let _ = socket.set_tcp_keepalive(&probes);
}

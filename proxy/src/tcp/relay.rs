//! Copies bytes both ways until both sides have ended.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};

use super::Stream;

/// Bytes that each direction holds at most: few enough for thousands of idle connections, and half as many system calls as
/// with the 8 KiB of the library. HAProxy's default.
const BUFFER: usize = 16 * 1024;

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
    let mut client = Counted { stream: client, written: 0 };
    let mut backend = Counted { stream: backend, written: 0 };
    let ending = copy_bidirectional_with_sizes(&mut client, &mut backend, BUFFER, BUFFER).await.map(|_| ());
    if ending.is_err() {
        client.stream.refuse();
        backend.stream.refuse();
    }
    Relayed { sent: backend.written, received: client.written, ending }
}

/// Counts what is written, because the copy tells only if it ended well.
struct Counted<'a, S> {
    stream: &'a mut S,
    written: u64,
}

impl<S: Stream> AsyncRead for Counted<'_, S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_read(cx, out)
    }
}

impl<S: Stream> AsyncWrite for Counted<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut *self.stream).poll_write(cx, data);
        if let Poll::Ready(Ok(written)) = result {
            self.written += written as u64;
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

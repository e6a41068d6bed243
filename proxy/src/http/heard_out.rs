//! Hears an endpoint out that closes its connection while it is written to.
//!
//! An endpoint that closes while requests are on their way to it resets the connection, and the next write fails. What it
//! said before lies still unread: answers, and the GOAWAY that says which requests it has not looked at. The HTTP library
//! gives up a connection at the first error, so writes must not be the first to fail.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose reset is found by reading: what can no longer be written is dropped.
pub(super) struct HeardOut<IO> {
    inner: IO,
    /// How a write found it, once one has.
    reset: Option<io::ErrorKind>,
}

impl<IO> HeardOut<IO> {
    pub(super) fn new(inner: IO) -> Self {
        Self { inner, reset: None }
    }

    /// Takes a reset that a write has found for the end of that write.
    fn noted(&mut self, written: Poll<io::Result<usize>>, all: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error))
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                self.reset = Some(error.kind());
                Poll::Ready(Ok(all))
            }
            written => written,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for HeardOut<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = out.remaining();
        let read = Pin::new(&mut self.inner).poll_read(cx, out);
        match (&read, self.reset) {
            // The system tells a reset once, and the write was told. An answer that only its end delimits would be taken for a
            // whole one, and a tunnel for one that is closed in one direction.
            (Poll::Ready(Ok(())), Some(reset)) if before > 0 && out.remaining() == before => {
                Poll::Ready(Err(reset.into()))
            }
            _ => read,
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for HeardOut<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.reset.is_some() {
            return Poll::Ready(Ok(data.len()));
        }
        let written = Pin::new(&mut self.inner).poll_write(cx, data);
        self.noted(written, data.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = data.iter().map(|slice| slice.len()).sum();
        if self.reset.is_some() {
            return Poll::Ready(Ok(all));
        }
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, data);
        self.noted(written, all)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.is_some() { Poll::Ready(Ok(())) } else { Pin::new(&mut self.inner).poll_flush(cx) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.is_some() { Poll::Ready(Ok(())) } else { Pin::new(&mut self.inner).poll_shutdown(cx) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[tokio::test]
    async fn what_was_said_before_a_reset_is_read_after_writes_that_failed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (mut ours, mut theirs) = (HeardOut::new(ours.unwrap()), theirs.unwrap().0);
        ours.write_all(b"never read").await.unwrap();
        theirs.readable().await.unwrap();
        theirs.write_all(b"last words").await.unwrap();
        drop(theirs);
        // The first finds the connection reset, the second finds it broken.
        ours.write_all(b"too late").await.unwrap();
        ours.write_all(b"still later").await.unwrap();
        ours.flush().await.unwrap();
        let mut heard = vec![0; 10];
        ours.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, b"last words");
        assert!(ours.read(&mut heard).await.is_err(), "a reset is no end");
    }
}

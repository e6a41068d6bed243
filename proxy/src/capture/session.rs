//! One connection of the proxy to the holder of the rules.

use std::io;

use tokio::net::UnixStream;
use wasmesh_core::capture::message::{Decoder, ProtocolError, Refuse, Reply};

/// A connection, and what has arrived on it.
pub(super) struct Session {
    stream: UnixStream,
    decoder: Decoder,
}

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionEnd {
    #[error("closed")]
    Closed,
    #[error(transparent)]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl Session {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, decoder: Decoder::default() }
    }

    /// The next message; may be cancelled and called again.
    pub(super) async fn next(&mut self) -> Result<Refuse, SessionEnd> {
        let mut buffer = [0; 8192];
        loop {
            self.stream.readable().await?;
            let bytes = match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(SessionEnd::Closed),
                Ok(length) => &buffer[..length],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            if let Some(message) = self.decoder.push(bytes)? {
                return Ok(message);
            }
        }
    }

    /// Answers. A peer that does not read its answers is none: nothing here waits for it.
    pub(super) fn reply(&self, reply: &Reply) -> io::Result<()> {
        let line = reply.encode();
        match self.stream.try_write(line.as_bytes())? {
            written if written == line.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

//! A connection to an endpoint, with one request at a time.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::reading;

/// No server closes a connection for having been idle for less than this.
const SHORTEST_IDLE_US: u64 = 1_000_000;

/// How much of an answer is taken while its request is still being sent.
const MAX_EARLY_BYTES: usize = 64 * 1024;

/// One connection.
pub struct Upstream {
    stream: TcpStream,
    /// When its last answer had ended, if it has answered before: the endpoint may have closed it since.
    answered_us: Option<u64>,
}

impl Upstream {
    /// A fresh one.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, answered_us: None }
    }

    /// The same after it has answered, which ended at `now_us`.
    pub(crate) fn into_reused(self, now_us: u64) -> Self {
        Self { answered_us: Some(now_us), ..self }
    }

    /// The connection itself, and when its last answer had ended.
    pub(crate) fn into_parts(self) -> (TcpStream, Option<u64>) {
        (self.stream, self.answered_us)
    }

    /// Whether it is known to be of no use: the endpoint has closed it, or says what nobody has asked for.
    pub(crate) fn is_closed(&self) -> bool {
        !matches!(self.stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether it has answered before, so that its end says nothing of the endpoint.
    pub(super) fn is_reused(&self) -> bool {
        self.answered_us.is_some()
    }

    /// Whether it was in use a moment before `sent_us`, so that the endpoint cannot have closed it for being idle.
    pub(super) fn was_busy(&self, sent_us: u64) -> bool {
        self.answered_us.is_some_and(|answered| sent_us.saturating_sub(answered) < SHORTEST_IDLE_US)
    }

    /// Sends a whole request. What the endpoint says before it has read all of it goes to `early`: one that refuses a request does not
    /// read on, and one that answers at length would wait for us as we for it. The error says whether any byte was written.
    pub(super) async fn send(&mut self, message: &[u8], early: &mut Vec<u8>) -> Result<(), (bool, io::Error)> {
        let first = self.stream.write(message).await.map_err(|error| (false, error))?;
        // Nearly always the system takes it at once.
        let mut message = &message[first..];
        let (mut reader, mut writer) = self.stream.split();
        while !message.is_empty() {
            tokio::select! {
                biased;
                read = reader.read_buf(early), if early.len() < MAX_EARLY_BYTES => match read {
                    Ok(0) => return Err((true, io::ErrorKind::UnexpectedEof.into())),
                    Ok(_) => {}
                    Err(error) => return Err((true, error)),
                },
                written = writer.write(message) => match written {
                    Ok(written) => message = &message[written..],
                    Err(error) => return Err((true, error)),
                },
            }
        }
        Ok(())
    }

    /// Appends what comes; 0 at the end.
    pub(super) async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        reading::read(&mut self.stream, into).await
    }

    /// Reads what comes after that which was read; 0 at the end.
    pub(super) async fn read_on(&mut self, instead: &mut Vec<u8>) -> io::Result<usize> {
        reading::read_on(&mut self.stream, instead).await
    }
}

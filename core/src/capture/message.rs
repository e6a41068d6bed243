//! What the proxy and the holder of CAP_NET_ADMIN say to each other over a unix socket.
//!
//! Lines of ASCII. The proxy begins with the version and then sends the whole set each time it has changed:
//!
//! ```text
//! wasmesh-capture 1
//! refuse 7 2
//! 10.96.0.10:80
//! [fd00::a]:80
//! ```
//!
//! that is: message 7, two destinations. Once the kernel refuses these and no others the answer is `done 7`; if it would
//! not have them, `failed 7 WHY`, and what it had before stands. What is no message is answered by `error WHY` and the
//! end of the connection. Sequence numbers grow.

use std::{net::SocketAddr, str};

use super::{MAX_REFUSED, RefuseSet};

/// The first line of a connection.
pub const HELLO: &str = "wasmesh-capture 1";

/// No line of a message is longer: the longest address has 39 characters, the longest number 20.
pub const MAX_LINE: usize = 64;

/// The destinations to refuse from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refuse {
    /// Which message this is.
    pub sequence: u64,
    /// All of them.
    pub destinations: RefuseSet,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The kernel has it.
    Done(u64),
    /// The kernel would not have it.
    Failed(u64, String),
    /// That was no message; the connection ends.
    Error(String),
}

/// Why something is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Another protocol, or another version of it.
    #[error("expected {HELLO:?} as the first line: proxy and capture must be of the same version")]
    Hello,
    /// A line without an end.
    #[error("a line is longer than {MAX_LINE} bytes")]
    LineTooLong,
    /// Neither a header nor, where one is due, a destination.
    #[error("expected {expected}, found {found:?}")]
    Unexpected {
        /// What was due.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// More than may be refused.
    #[error("{0} destinations are more than the {MAX_REFUSED} that can be refused")]
    TooMany(usize),
    /// A number that was used before.
    #[error("message {found} after message {last}: numbers must grow")]
    OldSequence {
        /// The last number.
        last: u64,
        /// This one.
        found: u64,
    },
}

impl Refuse {
    /// As text, without the first line of the connection.
    pub fn encode(&self) -> String {
        let Self { sequence, destinations } = self;
        let lines: String = destinations.iter().map(|destination| format!("{destination}\n")).collect();
        format!("refuse {sequence} {}\n{lines}", destinations.len())
    }
}

impl Reply {
    /// As one line.
    pub fn encode(&self) -> String {
        // A line is a line, whatever the kernel's tools have said.
        let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        match self {
            Self::Done(sequence) => format!("done {sequence}\n"),
            Self::Failed(sequence, why) => format!("failed {sequence} {}\n", flat(why)),
            Self::Error(why) => format!("error {}\n", flat(why)),
        }
    }

    /// From a line; `None` when it is none of the three.
    pub fn decode(line: &str) -> Option<Self> {
        let (kind, rest) = line.trim_end().split_once(' ')?;
        match kind {
            "done" => Some(Self::Done(rest.parse().ok()?)),
            "failed" => {
                let (sequence, why) = rest.split_once(' ').unwrap_or((rest, ""));
                Some(Self::Failed(sequence.parse().ok()?, why.to_owned()))
            }
            "error" => Some(Self::Error(rest.to_owned())),
            _ => None,
        }
    }
}

/// Makes messages of bytes as they arrive. It holds at most one message and one line.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    state: State,
    last: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Hello,
    Header,
    Destinations {
        message: Refuse,
        left: usize,
    },
}

impl Decoder {
    /// Takes more bytes; of the messages that they complete the last one is returned, since each says everything.
    ///
    /// # Errors
    /// When it is no message. Nothing that follows can be understood then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Refuse>, ProtocolError> {
        let mut complete = None;
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                complete = self.take(&line)?.or(complete);
            } else if self.line.len() == MAX_LINE {
                return Err(ProtocolError::LineTooLong);
            } else {
                self.line.push(byte);
            }
        }
        Ok(complete)
    }

    fn take(&mut self, line: &[u8]) -> Result<Option<Refuse>, ProtocolError> {
        match &mut self.state {
            State::Hello if line == HELLO.as_bytes() => self.state = State::Header,
            State::Hello => return Err(ProtocolError::Hello),
            State::Header => {
                let (sequence, left) = header(line).ok_or_else(|| unexpected("refuse NUMBER COUNT", line))?;
                if sequence <= self.last {
                    return Err(ProtocolError::OldSequence { last: self.last, found: sequence });
                }
                if left > MAX_REFUSED {
                    return Err(ProtocolError::TooMany(left));
                }
                self.last = sequence;
                let message = Refuse { sequence, destinations: RefuseSet::new() };
                self.state = State::Destinations { message, left };
            }
            State::Destinations { message, left } => {
                message.destinations.insert(destination(line).ok_or_else(|| unexpected("ADDRESS:PORT", line))?);
                *left -= 1;
            }
        }
        Ok(self.completed())
    }

    fn completed(&mut self) -> Option<Refuse> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Destinations { message, left: 0 } => Some(message),
            unfinished => {
                self.state = unfinished;
                None
            }
        }
    }
}

fn header(line: &[u8]) -> Option<(u64, usize)> {
    let rest = str::from_utf8(line).ok()?.strip_prefix("refuse ")?;
    let (sequence, count) = rest.split_once(' ')?;
    Some((sequence.parse().ok()?, count.parse().ok()?))
}

fn destination(line: &[u8]) -> Option<SocketAddr> {
    let destination: SocketAddr = str::from_utf8(line).ok()?.parse().ok()?;
    // A scope has no meaning to the kernel's sets, and port 0 cannot be dialled.
    let scoped = matches!(destination, SocketAddr::V6(v6) if v6.scope_id() != 0);
    (!scoped && destination.port() != 0).then_some(destination)
}

fn unexpected(expected: &'static str, line: &[u8]) -> ProtocolError {
    ProtocolError::Unexpected { expected, found: String::from_utf8_lossy(line).into_owned() }
}

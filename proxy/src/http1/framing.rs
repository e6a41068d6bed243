//! Where the body of a message ends (RFC 9112, sections 6 and 7). Pure.

/// How the end of a body is told, and how far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// By a last chunk.
    Chunked(Chunks),
    /// By the end of the connection.
    UntilClose,
}

/// Follows a body in chunks without touching it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Chunks {
    state: State,
    /// Of the line that is being read, or bytes that are left of the chunk.
    count: u64,
    /// Bytes of extensions and trailers so far.
    extra: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a chunk's size.
    #[default]
    Begin,
    Size,
    /// Blanks with which some pad sizes.
    SizeBlank,
    Extension,
    /// The line feed after a size.
    SizeEnd,
    Data,
    /// The two bytes after data.
    DataCr,
    DataLf,
    /// At the beginning of a line after the last chunk.
    TrailerBegin,
    Trailer,
    TrailerLf,
    /// The last line feed.
    EndLf,
    Ended,
}

/// It is no body in chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Extensions and trailers of a whole body; more is an attack.
const MAX_EXTRA: usize = 64 * 1024;

impl Framing {
    /// How many of these bytes are the body's, and whether it has ended with them.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        match self {
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                Ok((taken, *left == 0))
            }
            Self::Chunked(chunks) => chunks.take(bytes),
            Self::UntilClose => Ok((bytes.len(), false)),
        }
    }
}

impl Chunks {
    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Ended {
            if self.state == State::Data {
                let taken = usize::try_from(self.count).unwrap_or(usize::MAX).min(bytes.len() - at);
                at += taken;
                self.count -= taken as u64;
                if self.count == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok((at, self.state == State::Ended))
    }

    fn step(&mut self, byte: u8) -> Result<State, Malformed> {
        Ok(match (self.state, byte) {
            (State::Begin, _) if byte.is_ascii_hexdigit() => {
                self.count = 0;
                self.digit(byte)?;
                State::Size
            }
            (State::Size, _) if byte.is_ascii_hexdigit() => {
                self.digit(byte)?;
                State::Size
            }
            (State::Size | State::SizeBlank, b' ' | b'\t') => State::SizeBlank,
            (State::Size | State::SizeBlank, b';') => State::Extension,
            (State::Size | State::SizeBlank | State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, _) if is_text(byte) => {
                self.extra(1)?;
                State::Extension
            }
            (State::SizeEnd, b'\n') if self.count == 0 => State::TrailerBegin,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Begin,
            (State::TrailerBegin, b'\r') => State::EndLf,
            (State::TrailerBegin | State::Trailer, _) if is_text(byte) => {
                self.extra(1)?;
                State::Trailer
            }
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerBegin,
            (State::EndLf, b'\n') => State::Ended,
            _ => return Err(Malformed),
        })
    }

    fn digit(&mut self, byte: u8) -> Result<(), Malformed> {
        let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
        self.count = self.count.checked_mul(16).and_then(|count| count.checked_add(digit.into())).ok_or(Malformed)?;
        Ok(())
    }

    fn extra(&mut self, bytes: usize) -> Result<(), Malformed> {
        self.extra += bytes;
        if self.extra > MAX_EXTRA { Err(Malformed) } else { Ok(()) }
    }
}

/// What may stand in a line: no control characters but the tab.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same comes out: bytes that belong to the body, or nothing if they are malformed.
    #[track_caller]
    fn check(bytes: &str, expected: Option<usize>) {
        for cut in 0..=bytes.len() {
            let mut framing = Framing::Chunked(Chunks::default());
            let (first, second) = bytes.as_bytes().split_at(cut);
            let taken = framing.take(first).and_then(|(taken, ended)| match ended {
                true => Ok((taken, true)),
                false => framing.take(second).map(|(more, ended)| (taken + more, ended)),
            });
            let whole = taken.ok().filter(|(_, ended)| *ended).map(|(taken, _)| taken);
            assert_eq!(whole, expected, "{bytes:?} cut at {cut}");
        }
    }

    #[test]
    fn chunks_end_where_they_should() {
        check("0\r\n\r\n", Some(5));
        check("0\r\n\r\nHTTP/1.1", Some(5));
        check("5\r\nhello\r\n0\r\n\r\n", Some(15));
        check("00A;name=\"value\"\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\nrest", Some(47));
        check("5 \r\nhello\r\n0\r\n\r\n", Some(16));
        check("5 \t ;x\r\nhello\r\n0\r\n\r\n", Some(20));
        check("5\r\nhello\r\n", None);
    }

    #[test]
    fn what_another_might_read_otherwise_is_malformed() {
        for bytes in [
            "\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5 junk\r\nhello\r\n0\r\n\r\n",
            "-1\r\n\r\n0\r\n\r\n",
            "10000000000000000\r\nhello",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\rX",
        ] {
            let mut framing = Framing::Chunked(Chunks::default());
            assert_eq!(framing.take(bytes.as_bytes()), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_have_a_bound() {
        let long = format!("0\r\na: {}\r\n\r\n", "x".repeat(MAX_EXTRA));
        assert_eq!(Framing::Chunked(Chunks::default()).take(long.as_bytes()), Err(Malformed));
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.take(b"abc"), Ok((3, false)));
        assert_eq!(framing.take(b"defgh"), Ok((2, true)));
        assert_eq!(Framing::Length(0).take(b""), Ok((0, true)));
        assert_eq!(Framing::UntilClose.take(b"abc"), Ok((3, false)));
    }
}

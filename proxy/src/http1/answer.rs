//! What an endpoint answers, judged and written anew for the client. Pure.

use super::{
    fields::{self, Field},
    framing::{Chunks, Framing},
};
use crate::http::Fields;

/// As many fields as a head may have here.
const MAX_FIELDS: usize = 100;

/// What has been read of an answer.
#[derive(Debug)]
pub(super) enum Read {
    /// More must come.
    Partial,
    /// Its head is here; it took so many bytes.
    Head(Head, usize),
    /// It is only on the way (1xx): it took so many bytes.
    Interim(usize),
    /// It is none.
    Malformed,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// How its body ends.
    pub(super) framing: Framing,
    /// The endpoint keeps the connection.
    pub(super) keeps: bool,
    /// The body is in no frames, and so must be put into chunks for a client whose connection goes on.
    pub(super) wants_chunks: bool,
    /// There may be one.
    has_body: bool,
    /// The length that the client is told.
    length: Option<u64>,
}

/// The fields of an answer, for whoever looks for one.
pub(super) struct Found<'a>(&'a [httparse::Header<'a>]);

impl Fields for Found<'_> {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }
}

/// Reads the answer at the beginning of `input`, to a request by HEAD or another method, and writes its head for the client, whose
/// connection `ends` afterwards if it must. `seen` sees the status and the fields first.
pub(super) fn read(
    input: &[u8],
    to_head: bool,
    ends: bool,
    out: &mut Vec<u8>,
    seen: impl FnOnce(u16, &Found<'_>),
) -> Read {
    let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut room);
    let length = match response.parse(input) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Read::Partial,
        Err(_) => return Read::Malformed,
    };
    let (Some(status), Some(version)) = (response.code, response.version) else { return Read::Malformed };
    match status {
        // Nobody has asked for another protocol.
        ..=99 | 101 => return Read::Malformed,
        100..=199 => return Read::Interim(length),
        _ => {}
    }
    let Some(head) = judge(status, version, response.headers, to_head) else { return Read::Malformed };
    seen(status, &Found(response.headers));
    // With what has come of the body, if that follows in the same write.
    out.reserve(input.len() + 64);
    write(out, &head, response.reason.unwrap_or_default(), response.headers, ends);
    Read::Head(head, length)
}

fn judge(status: u16, version: u8, headers: &[httparse::Header<'_>], to_head: bool) -> Option<Head> {
    let mut keeps = version == 1;
    let (mut length, mut coding): (Option<Option<u64>>, Option<&[u8]>) = (None, None);
    for field in headers {
        match Field::of(field.name) {
            Field::ContentLength => {
                let said = same(fields::tokens(field.value).map(fields::length));
                length = Some(length.map_or(said, |before| before.filter(|before| said == Some(*before))));
            }
            // What the client would make of two of them nobody knows.
            Field::TransferEncoding if coding.is_some() => return None,
            Field::TransferEncoding => coding = Some(fields::tokens(field.value).last().unwrap_or_default()),
            Field::Connection => {
                for token in fields::tokens(field.value) {
                    if token.eq_ignore_ascii_case(b"close") {
                        keeps = false;
                    } else if version == 0 && token.eq_ignore_ascii_case(b"keep-alive") {
                        keeps = true;
                    }
                }
            }
            _ => {}
        }
    }
    let has_body = !to_head && !matches!(status, 204 | 304);
    let framing = match (coding, length) {
        _ if !has_body => Framing::Length(0),
        // A server of 1.0 has none, so the length of what it says is not known.
        (Some(_), _) if version == 0 => return None,
        (Some(coding), _) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked(Chunks::default()),
        (Some(_), _) | (None, None) => Framing::UntilClose,
        (None, Some(length)) => Framing::Length(length?),
    };
    let is_framed = framing != Framing::UntilClose;
    Some(Head {
        status,
        framing,
        keeps: keeps && is_framed,
        wants_chunks: !is_framed && coding.is_none(),
        has_body,
        // A length beside a coding is none, and a recipient that believed it would read another message.
        length: length.flatten().filter(|_| coding.is_none() && status != 204),
    })
}

/// What all of them say; `None` if they differ, or one of them says nothing. The same several times is one (RFC 9112,
/// section 6.3).
fn same(mut lengths: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

fn write(out: &mut Vec<u8>, head: &Head, reason: &str, headers: &[httparse::Header<'_>], ends: bool) {
    let Head { status, framing, wants_chunks, has_body, length, .. } = head;
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend([status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8));
    out.push(b' ');
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    let lists = || headers.iter().filter(|field| Field::of(field.name) == Field::Connection);
    let named = |name: &str| {
        let mut tokens = lists().flat_map(|field| fields::tokens(field.value));
        tokens.any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
    };
    // Almost always the list is not there, or says what we know.
    let is_known = |token: &[u8]| token.eq_ignore_ascii_case(b"close") || token.eq_ignore_ascii_case(b"keep-alive");
    let names_fields = lists().any(|field| !fields::tokens(field.value).all(is_known));
    let mut length = *length;
    for field in headers {
        match Field::of(field.name) {
            Field::Connection | Field::HopByHop | Field::Te => {}
            // What a server would rather speak (RFC 9110, section 15.5.22).
            Field::Upgrade if names_fields && named("upgrade") => {
                fields::write(out, field.name, field.value);
                fields::write(out, "Connection", b"upgrade");
            }
            Field::Upgrade => {}
            Field::ContentLength => {
                if let Some(length) = length.take() {
                    fields::write(out, field.name, length.to_string().as_bytes());
                }
            }
            Field::TransferEncoding | Field::Trailer if !has_body => {}
            Field::Plain if names_fields && named(field.name) => {}
            _ => fields::write(out, field.name, field.value),
        }
    }
    if *wants_chunks {
        fields::write(out, "Transfer-Encoding", b"chunked");
    }
    if ends || (*framing == Framing::UntilClose && !wants_chunks) {
        fields::write(out, "Connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}

/// Frames bytes as a chunk; none are none, for an empty chunk is the last.
pub(super) fn write_chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    use std::io::Write;
    // A vector takes everything.
    let _ = write!(out, "{:x}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// What ends a body in chunks.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(input: &str, to_head: bool, ends: bool) -> (Read, String) {
        let mut out = Vec::new();
        let read = read(input.as_bytes(), to_head, ends, &mut out, |_, _| {});
        (read, String::from_utf8(out).unwrap())
    }

    #[track_caller]
    fn check(input: &str, framing: Framing, keeps: bool, expected: &str) {
        let (read, out) = answer(input, false, false);
        let Read::Head(head, length) = read else { panic!("{input:?}: {read:?}") };
        assert_eq!(
            (head.framing, head.keeps, length, out.as_str()),
            (framing, keeps, input.len(), expected),
            "{input:?}"
        );
    }

    const CHUNKED: fn() -> Framing = || Framing::Chunked(Chunks::default());

    #[test]
    fn heads_are_written_for_the_client() {
        check(
            "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 5\r\nConnection: keep-alive\r\nKeep-Alive: a\r\n\r\n",
            Framing::Length(5),
            true,
            "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 5\r\n\r\n",
        );
        check(
            "HTTP/1.1 404\r\nconnection: close, x-private\r\nX-Private: 1\r\nX-Public: 2\r\ncontent-length: 0, 0\r\n\r\n",
            Framing::Length(0),
            false,
            "HTTP/1.1 404 \r\nX-Public: 2\r\ncontent-length: 0\r\n\r\n",
        );
        check(
            "HTTP/1.1 426 x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
            Framing::Length(0),
            true,
            "HTTP/1.1 426 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n",
        );
        check(
            "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            Framing::Length(0),
            true,
            "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            CHUNKED(),
            true,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: -1\r\n\r\n",
            CHUNKED(),
            true,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
            CHUNKED(),
            true,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
        );
        check(
            "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
            Framing::Length(0),
            true,
            "HTTP/1.1 204 No Content\r\n\r\n",
        );
        check(
            "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n",
            Framing::Length(1),
            true,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n",
        );
    }

    #[test]
    fn what_ends_with_the_connection_is_put_into_chunks() {
        check(
            "HTTP/1.0 200 OK\r\n\r\n",
            Framing::UntilClose,
            false,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\nContent-Length: 5\r\n\r\n",
            Framing::UntilClose,
            false,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: \r\nConnection: close\r\n\r\n",
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 5\r\n\r\n",
            Framing::UntilClose,
            false,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n",
        );
        let mut out = Vec::new();
        write_chunk(&mut out, &[b'x'; 26]);
        assert_eq!(out, [b"1a\r\n", &[b'x'; 26][..], b"\r\n"].concat());
    }

    #[test]
    fn an_answer_without_a_body_says_nothing_of_chunks() {
        for status in ["204 No Content", "304 Not Modified"] {
            check(
                &format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n"),
                Framing::Length(0),
                true,
                &format!("HTTP/1.1 {status}\r\n\r\n"),
            );
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body_and_every_length() {
        let (read, out) = answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, true);
        assert!(matches!(read, Read::Head(Head { framing: Framing::Length(0), .. }, _)));
        assert_eq!(out, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n");
    }

    #[test]
    fn what_is_on_the_way_is_told_from_what_is_none() {
        assert!(matches!(answer("HTTP/1.1 200 OK\r\nA: b", false, false).0, Read::Partial));
        assert!(matches!(answer("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP", false, false).0, Read::Interim(37)));
        for input in [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "SSH-2.0-x\r\n",
        ] {
            assert!(matches!(answer(input, false, false).0, Read::Malformed), "{input:?}");
        }
    }
}

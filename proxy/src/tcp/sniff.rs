//! What a connection speaks, by its first bytes. Pure; any bytes give an answer.

use crate::http::HttpVersion;

/// What a client's first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// The beginning of an HTTP/1 request line.
    Http1,
    /// The client preface of HTTP/2.
    Http2,
    /// Something else: forwarded without looking further.
    Opaque,
    /// Too little to tell.
    NeedMore,
}

impl Sniffed {
    /// The version of HTTP, if it is HTTP.
    pub fn http(self) -> Option<HttpVersion> {
        match self {
            Self::Http1 => Some(HttpVersion::Http1),
            Self::Http2 => Some(HttpVersion::Http2),
            Self::Opaque | Self::NeedMore => None,
        }
    }
}

/// What a server that speaks first says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// The settings that begin an HTTP/2 connection.
    Http2Settings,
    /// An HTTP/1 response, though nobody has asked anything.
    Http1,
    /// A greeting of another protocol.
    Other,
    /// Too little to tell.
    NeedMore,
}

/// The longest method that is looked for; the registry's longest is UPDATEREDIRECTREF
/// (<https://www.iana.org/assignments/http-methods>).
const LONGEST_METHOD: usize = 17;

/// The client preface (RFC 9113, section 3.4). It looks like a request with the method PRI.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Tells what a connection begins with. An HTTP/1 request line is a method of capital letters and hyphens, a space, a
/// target and a version.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    if bytes.starts_with(HTTP2_PREFACE) {
        return Sniffed::Http2;
    }
    if HTTP2_PREFACE.starts_with(bytes) {
        return Sniffed::NeedMore;
    }
    let method_end = bytes.iter().position(|byte| !(byte.is_ascii_uppercase() || *byte == b'-'));
    match method_end {
        None if bytes.len() > LONGEST_METHOD => Sniffed::Opaque,
        None => Sniffed::NeedMore,
        Some(0) => Sniffed::Opaque,
        Some(end) if end > LONGEST_METHOD || bytes[end] != b' ' => Sniffed::Opaque,
        // What follows is a tunnel, which is to be carried and not looked into.
        Some(end) if &bytes[..end] == b"CONNECT" => Sniffed::Opaque,
        Some(end) => request_line(&bytes[end + 1..]),
    }
}

/// Tells what a server has begun with. A SETTINGS frame is a length that is a multiple of six, the type 4, no flags and
/// stream 0 (RFC 9113, section 6.5).
pub fn greeting(bytes: &[u8]) -> Greeting {
    const HTTP1: &[u8] = b"HTTP/1.";
    const FRAME_HEADER: usize = 9;
    if bytes.starts_with(HTTP1) {
        return Greeting::Http1;
    }
    if HTTP1.starts_with(bytes) {
        return Greeting::NeedMore;
    }
    let is_beginning_of_settings = |index: usize, byte: u8| match index {
        // More than 16 KiB of settings would exceed the frame size that everybody must accept.
        0 => byte == 0,
        1 => byte <= 0x40,
        3 => byte == 4,
        4..FRAME_HEADER => byte == 0,
        _ => true,
    };
    let header = &bytes[..bytes.len().min(FRAME_HEADER)];
    if !header.iter().enumerate().all(|(index, byte)| is_beginning_of_settings(index, *byte)) {
        return Greeting::Other;
    }
    match header {
        [_, high, low, ..] if !u16::from_be_bytes([*high, *low]).is_multiple_of(6) => Greeting::Other,
        header if header.len() < FRAME_HEADER => Greeting::NeedMore,
        _ => Greeting::Http2Settings,
    }
}

/// How much of a request line is looked at. A target that begins with `/` and is longer is taken for one of HTTP.
const LONGEST_LINE: usize = 4096;

/// The rest of a request line: a target, a space and a version. `OPTIONS *` may be RTSP, `USER x` is mail.
fn request_line(rest: &[u8]) -> Sniffed {
    let Some(begins) = rest.first() else { return Sniffed::NeedMore };
    if !matches!(begins, b'/' | b'*' | b'[') && !begins.is_ascii_alphanumeric() {
        return Sniffed::Opaque;
    }
    match rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(end) if rest[..end].windows(8).any(|window| window == b" HTTP/1.") => Sniffed::Http1,
        Some(_) => Sniffed::Opaque,
        None if rest.len() > LONGEST_LINE && *begins == b'/' => Sniffed::Http1,
        None if rest.len() > LONGEST_LINE => Sniffed::Opaque,
        None => Sniffed::NeedMore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Sniffed) {
        assert_eq!(sniff(bytes), expected, "{}", bytes.escape_ascii());
    }

    #[test]
    fn request_lines_are_http() {
        check(b"GET / HTTP/1.1\r\n", Sniffed::Http1);
        check(b"OPTIONS * HTTP/1.1\r\n", Sniffed::Http1);
        check(b"M-SEARCH * HTTP/1.1\r\n", Sniffed::Http1);
        check(b"GET http://a/ HTTP/1.1\r\n", Sniffed::Http1);
        check(b"DELETE /a HTTP/1.0\r\n", Sniffed::Http1);
        check(&[b"GET /", &[b'a'; 5000][..]].concat(), Sniffed::Http1);
    }

    #[test]
    fn other_protocols_are_opaque() {
        check(b"\x16\x03\x01\x02\x00\x01", Sniffed::Opaque);
        check(b"PRI / HTTP/1.1\r\n", Sniffed::Http1);
        check(b"SSH-2.0-OpenSSH_9.2\r\n", Sniffed::Opaque);
        check(b"CONNECT a:1 HTTP/1.1\r\n", Sniffed::Opaque);
        check(b"OPTIONS * RTSP/1.0\r\n", Sniffed::Opaque);
        check(b"EHLO example.com\r\n", Sniffed::Opaque);
        check(b"USER anonymous\r\n", Sniffed::Opaque);
        check(b"get / HTTP/1.1\r\n", Sniffed::Opaque);
        check(b"*1\r\n$4\r\nPING\r\n", Sniffed::Opaque);
        check(b"\0\0\0\x08\x04\xd2\x16/", Sniffed::Opaque);
        check(b"AVERYLONGWORDTHATISNOMETHOD", Sniffed::Opaque);
    }

    #[test]
    fn the_preface_is_http2_once_it_is_whole() {
        for end in 0..HTTP2_PREFACE.len() {
            check(&HTTP2_PREFACE[..end], Sniffed::NeedMore);
        }
        check(HTTP2_PREFACE, Sniffed::Http2);
        check(&[HTTP2_PREFACE, b"\0\0\0\x04"].concat(), Sniffed::Http2);
    }

    #[test]
    fn greetings_are_told_apart() {
        let check = |bytes: &[u8], expected| assert_eq!(greeting(bytes), expected, "{}", bytes.escape_ascii());
        let settings = b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x64";
        for end in 0..9 {
            check(&settings[..end], Greeting::NeedMore);
        }
        check(settings, Greeting::Http2Settings);
        check(b"\0\0\0\x04\0\0\0\0\0", Greeting::Http2Settings);
        check(b"HTTP/1.1 408 Request Timeout\r\n", Greeting::Http1);
        check(b"HTT", Greeting::NeedMore);
        check(b"220 mail ESMTP\r\n", Greeting::Other);
        check(b"SSH-2.0-OpenSSH_9.2\r\n", Greeting::Other);
        // MySQL: a length, then the sequence number 0 and the protocol version 10.
        check(b"\x4a\0\0\0\x0a8.0.36", Greeting::Other);
        check(b"\0\0\x07\x04\0\0\0\0\0", Greeting::Other);
        check(b"\0\0\x06\x04\x01\0\0\0\0", Greeting::Other);
    }

    #[test]
    fn beginnings_wait_for_more() {
        for end in 0..5 {
            check(&b"GET /"[..end], Sniffed::NeedMore);
        }
        check(b"GET http://exam", Sniffed::NeedMore);
    }

    #[test]
    fn an_answer_never_changes_with_more_bytes() {
        for text in [&b"GET / HTTP/1.1\r\n"[..], b"EHLO a\r\n", b"GET http://a/ HTTP/1.1\r\n", b"\x16\x03\x01"] {
            let mut decided = Sniffed::NeedMore;
            for end in 0..=text.len() {
                let now = sniff(&text[..end]);
                assert!(decided == Sniffed::NeedMore || decided == now, "{}", text[..end].escape_ascii());
                decided = now;
            }
        }
    }
}

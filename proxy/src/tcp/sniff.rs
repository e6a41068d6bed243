//! What a client speaks, by its first bytes. Pure; any bytes give an answer.

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// The beginning of an HTTP/1 request line.
    Http1,
    /// Something else: forwarded without looking further.
    Opaque,
    /// Too little to tell.
    NeedMore,
}

/// The longest method that is looked for; the registry's longest is UPDATEREDIRECTREF
/// (<https://www.iana.org/assignments/http-methods>).
const LONGEST_METHOD: usize = 17;

/// The client preface of HTTP/2 looks like a request with the method PRI.
const HTTP2_METHOD: &[u8] = b"PRI";

/// Tells what a connection begins with. An HTTP/1 request line is a method of capital letters and hyphens, a space, and
/// a target that begins with `/`, `*` or a scheme or host.
pub fn sniff(bytes: &[u8]) -> Sniffed {
    let method_end = bytes.iter().position(|byte| !(byte.is_ascii_uppercase() || *byte == b'-'));
    match method_end {
        None if bytes.len() > LONGEST_METHOD => Sniffed::Opaque,
        None => Sniffed::NeedMore,
        Some(0) => Sniffed::Opaque,
        Some(end) if end > LONGEST_METHOD || bytes[end] != b' ' || &bytes[..end] == HTTP2_METHOD => Sniffed::Opaque,
        Some(end) => match bytes.get(end + 1) {
            None => Sniffed::NeedMore,
            Some(b'/' | b'*' | b'[') => Sniffed::Http1,
            Some(byte) if byte.is_ascii_alphanumeric() => has_http_version(&bytes[end + 1..]),
            Some(_) => Sniffed::Opaque,
        },
    }
}

/// How much of a request line without a `/` at its start is looked at: `MAIL FROM:` and `USER x` are no HTTP.
const LONGEST_LINE: usize = 4096;

fn has_http_version(target_and_version: &[u8]) -> Sniffed {
    match target_and_version.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        Some(end) if target_and_version[..end].windows(8).any(|window| window == b" HTTP/1.") => Sniffed::Http1,
        Some(_) => Sniffed::Opaque,
        None if target_and_version.len() > LONGEST_LINE => Sniffed::Opaque,
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
        check(b"CONNECT a:1 HTTP/1.1\r\n", Sniffed::Http1);
        check(b"DELETE /", Sniffed::Http1);
    }

    #[test]
    fn other_protocols_are_opaque() {
        check(b"\x16\x03\x01\x02\x00\x01", Sniffed::Opaque);
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Sniffed::Opaque);
        check(b"SSH-2.0-OpenSSH_9.2\r\n", Sniffed::Opaque);
        check(b"EHLO example.com\r\n", Sniffed::Opaque);
        check(b"USER anonymous\r\n", Sniffed::Opaque);
        check(b"get / HTTP/1.1\r\n", Sniffed::Opaque);
        check(b"*1\r\n$4\r\nPING\r\n", Sniffed::Opaque);
        check(b"\0\0\0\x08\x04\xd2\x16/", Sniffed::Opaque);
        check(b"AVERYLONGWORDTHATISNOMETHOD", Sniffed::Opaque);
    }

    #[test]
    fn beginnings_wait_for_more() {
        for end in 0..4 {
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

//! Which header fields a proxy has to look at. Pure.

use std::ops::Range;

/// What a field is to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// The application's business.
    Plain,
    Connection,
    ContentLength,
    ContentType,
    Expect,
    Host,
    /// About one connection only, and of no meaning to us: `Keep-Alive` and its like.
    HopByHop,
    /// To a proxy, and not to the server.
    ToProxy,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
}

impl Field {
    /// Of the field with this name.
    pub(super) fn of(name: &str) -> Self {
        // By length first: most names differ in it from all of these.
        let (known, field) = match name.len() {
            2 => ("te", Self::Te),
            4 => ("host", Self::Host),
            6 => ("expect", Self::Expect),
            7 if name.eq_ignore_ascii_case("upgrade") => return Self::Upgrade,
            7 => ("trailer", Self::Trailer),
            10 if name.eq_ignore_ascii_case("keep-alive") => return Self::HopByHop,
            10 => ("connection", Self::Connection),
            12 => ("content-type", Self::ContentType),
            14 if name.eq_ignore_ascii_case("http2-settings") => return Self::HopByHop,
            14 => ("content-length", Self::ContentLength),
            16 => ("proxy-connection", Self::HopByHop),
            17 => ("transfer-encoding", Self::TransferEncoding),
            18 => ("proxy-authenticate", Self::ToProxy),
            19 => ("proxy-authorization", Self::ToProxy),
            _ => return Self::Plain,
        };
        if name.eq_ignore_ascii_case(known) { field } else { Self::Plain }
    }
}

/// The tokens of a list, such as `keep-alive, X-Private`.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// A length as RFC 9110 (section 8.6) writes it: digits and nothing else.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Writes a field.
pub(super) fn write(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The fields of a head that [`write`] has written, from after its first line on.
pub(super) fn lines(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = fields.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii_start()))
    })
}

/// A place in a buffer, small enough to be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn of(range: Range<usize>) -> Self {
        let cut = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self { start: cut(range.start), end: cut(range.end) }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_in_any_case() {
        for (name, field) in [
            ("Host", Field::Host),
            ("HOST", Field::Host),
            ("hosT", Field::Host),
            ("Connection", Field::Connection),
            ("Keep-Alive", Field::HopByHop),
            ("Proxy-Connection", Field::HopByHop),
            ("HTTP2-Settings", Field::HopByHop),
            ("Content-Length", Field::ContentLength),
            ("Content-Length-", Field::Plain),
            ("Transfer-Encoding", Field::TransferEncoding),
            ("Upgrade", Field::Upgrade),
            ("Trailer", Field::Trailer),
            ("TE", Field::Te),
            ("Expect", Field::Expect),
            ("Proxy-Authorization", Field::ToProxy),
            ("Proxy-Authenticate", Field::ToProxy),
            ("X-Host", Field::Plain),
        ] {
            assert_eq!(Field::of(name), field, "{name}");
        }
    }

    #[test]
    fn lengths_are_digits() {
        assert_eq!(length(b"0"), Some(0));
        assert_eq!(length(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", " 1", "1 ", "1, 1", "0x1", "18446744073709551616"] {
            assert_eq!(length(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_written_is_found() {
        let mut head = Vec::new();
        write(&mut head, "X-One", b"a: b");
        write(&mut head, "x-two", b"");
        write(&mut head, "X-ONE", b"second");
        let expected = [("X-One", "a: b"), ("x-two", ""), ("X-ONE", "second")]
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert!(lines(&head).eq(expected));
    }
}

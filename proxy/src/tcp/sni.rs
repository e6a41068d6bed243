//! The server name that a TLS client asks for, read from its first bytes. Pure; any bytes give an answer.
//!
//! For metrics only: TLS is passed through and nothing is decided by it. A ClientHello (RFC 8446, section 4.1.2) that has
//! not come in full, or is spread over several records, has no name here.

/// The server name of a ClientHello (RFC 6066, section 3), if these bytes have one.
pub fn server_name(bytes: &[u8]) -> Option<&str> {
    let mut record = Reader(bytes);
    // A handshake record of TLS 1.x, whose version says 3.x; in it a handshake message of the kind ClientHello.
    (record.byte()? == 22 && record.byte()? == 3).then_some(())?;
    record.take(1)?;
    let mut handshake = record.sized16()?;
    (handshake.byte()? == 1).then_some(())?;
    let mut hello = handshake.sized24()?;
    // Its version and random, the session, the cipher suites, the compression methods.
    hello.take(2 + 32)?;
    hello.sized8()?;
    hello.sized16()?;
    hello.sized8()?;
    let mut extensions = hello.sized16()?;
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let mut content = extensions.sized16()?;
        if kind == 0 {
            let mut names = content.sized16()?;
            // There is one kind of name, a host name.
            let name = if names.byte()? == 0 { std::str::from_utf8(names.sized16()?.0).ok() } else { None };
            return name.filter(|name| !name.is_empty());
        }
    }
    None
}

/// What has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number16(&mut self) -> Option<usize> {
        Some(usize::from(self.byte()?) << 8 | usize::from(self.byte()?))
    }

    /// What follows a length of one byte; likewise of two and three.
    fn sized8(&mut self) -> Option<Reader<'a>> {
        let length = self.byte()?.into();
        self.take(length).map(Reader)
    }

    fn sized16(&mut self) -> Option<Reader<'a>> {
        let length = self.number16()?;
        self.take(length).map(Reader)
    }

    fn sized24(&mut self) -> Option<Reader<'a>> {
        let length = usize::from(self.byte()?) << 16 | self.number16()?;
        self.take(length).map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sized16(content: &[u8]) -> Vec<u8> {
        [&u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
    }

    fn client_hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        let hello =
            [&[3, 3][..], &[7; 32], &[0], &sized16(&[0x13, 1]), &[1, 0], &sized16(&extensions.concat())].concat();
        let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
        let handshake = [&[1], &length[1..], &hello].concat();
        [&[22, 3, 1][..], &sized16(&handshake)].concat()
    }

    fn named(name: &[u8]) -> Vec<u8> {
        let list = [&[0][..], &sized16(name)].concat();
        [&[0, 0][..], &sized16(&sized16(&list))].concat()
    }

    #[test]
    fn the_name_is_found_behind_other_extensions() {
        let other = [&[0, 43][..], &sized16(&[2, 3, 4])].concat();
        assert_eq!(server_name(&client_hello(&[other.clone(), named(b"db.shop")])), Some("db.shop"));
        assert_eq!(server_name(&client_hello(&[other])), None);
        assert_eq!(server_name(&client_hello(&[])), None);
        assert_eq!(server_name(&client_hello(&[named(&[0xff, 0xfe])])), None);
        assert_eq!(server_name(b"GET / HTTP/1.1\r\n"), None);
    }

    #[test]
    fn whatever_is_cut_or_spoiled_has_an_answer() {
        let whole = client_hello(&[named(b"db.shop")]);
        for end in 0..whole.len() {
            assert_eq!(server_name(&whole[..end]), None, "cut at {end}");
        }
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut spoiled = whole.clone();
                spoiled[at] = byte;
                let _ = server_name(&spoiled);
            }
        }
    }
}

//! Addresses as text, quickly: a list of a thousand is written each time one of them changes.

use std::{io::Write as _, net::SocketAddr};

/// The longest text: an IPv6 address of 39 characters with a scope of 10 digits and a port, and what is between them.
const MAX_BYTES: usize = 64;

/// The text of an address, as [`SocketAddr`] displays itself.
pub(super) struct AddressText {
    bytes: [u8; MAX_BYTES],
    len: usize,
}

impl AddressText {
    pub(super) fn of(address: &SocketAddr) -> Self {
        let mut text = Self { bytes: [0; MAX_BYTES], len: 0 };
        match address {
            SocketAddr::V4(address) => {
                // The standard library's way takes as long as everything else that is done for an endpoint.
                for (octet, end) in address.ip().octets().into_iter().zip(*b"...:") {
                    text.number(u16::from(octet));
                    text.push(end);
                }
                text.number(address.port());
            }
            SocketAddr::V6(address) => {
                let mut rest = &mut text.bytes[..];
                // It cannot be too long; if it were, it would be cut.
                let _ = write!(rest, "{address}");
                text.len = MAX_BYTES - rest.len();
            }
        }
        text
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn number(&mut self, number: u16) {
        let digit = |unit: u16| b'0' + (number / unit % 10) as u8;
        if number >= 10_000 {
            self.push(digit(10_000));
        }
        if number >= 1000 {
            self.push(digit(1000));
        }
        if number >= 100 {
            self.push(digit(100));
        }
        if number >= 10 {
            self.push(digit(10));
        }
        self.push(digit(1));
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &SocketAddr) {
        assert_eq!(AddressText::of(address).as_bytes(), address.to_string().as_bytes());
    }

    #[test]
    fn any_address_is_written_as_it_displays_itself() {
        for port in 0..=u16::MAX {
            let [high, low] = port.to_be_bytes();
            check(&([high, low, 0, 255], port).into());
        }
        for text in ["[::1]:80", "[fd00:1234:5678:9abc:def0:1234:5678:9abc%4294967295]:65535", "[::ffff:1.2.3.4]:1"] {
            check(&text.parse().unwrap());
        }
    }
}

//! gRPC as far as the demo speaks it: one message each way, a `google.protobuf.StringValue`. Pure.
//!
//! On the wire a message has a flag for compression and its length before it
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).

use anyhow::{Context, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Of requests and responses.
pub(super) const CONTENT_TYPE: &str = "application/grpc";

/// The trailer that says how a call went; `0` is good.
pub(super) const STATUS: &str = "grpc-status";

/// What is wrong, where the status is not good.
pub(super) const MESSAGE: &str = "grpc-message";

const UNCOMPRESSED: u8 = 0;

/// A body with one message.
pub(super) fn encode(text: &str) -> Bytes {
    let message = text.to_owned().encode_to_vec();
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(UNCOMPRESSED);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(&message);
    body.freeze()
}

/// The text of a body that must have exactly one message.
pub(super) fn decode(body: &[u8]) -> anyhow::Result<String> {
    let (prefix, message) = body.split_first_chunk::<5>().context("a gRPC message is cut short")?;
    let [compressed, length @ ..] = *prefix;
    ensure!(compressed == UNCOMPRESSED, "a gRPC message is compressed though nobody asked for it");
    let length = u32::from_be_bytes(length);
    ensure!(usize::try_from(length) == Ok(message.len()), "a gRPC body is {} bytes of {length}", message.len());
    String::decode(message).context("a gRPC message is no StringValue")
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};

    #[test]
    fn a_message_is_framed_as_grpc_has_it() {
        assert_eq!(&*encode("hi"), [0, 0, 0, 0, 4, 0x0a, 2, b'h', b'i']);
        for text in ["", "call 7", &"é".repeat(500)] {
            assert_eq!(decode(&encode(text)).unwrap(), text);
        }
    }

    #[test]
    fn what_is_not_one_message_is_refused() {
        let two = [encode("a"), encode("b")].concat();
        let not_utf8 = [0, 0, 0, 0, 3, 0x0a, 1, 0xff];
        for body in [&[][..], &[0, 0, 0, 0], &[0, 0, 0, 0, 1], &[1, 0, 0, 0, 0], &two, &not_utf8] {
            assert!(decode(body).is_err(), "{body:?}");
        }
    }
}

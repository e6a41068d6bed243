//! What must hold of messages, whoever has written them.

use super::{
    answer,
    framing::{Chunks, Framing},
    request::{self, Form},
};

/// As many fields as a message may have here, and some of ours.
const MAX_FIELDS: usize = 128;

/// What is taken for a plain request is sent on as one request, of which everybody knows where it ends.
///
/// # Panics
/// When it is not.
pub(crate) fn request(bytes: &[u8]) {
    for form in [Form::Origin, Form::Absolute] {
        let request::Read::Plain(plain) = request::read(bytes, form) else { continue };
        assert!(plain.taken <= bytes.len(), "more is taken than there is");
        let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Request::new(&mut room);
        let Ok(httparse::Status::Complete(length)) = head.parse(&plain.message) else {
            panic!("what is sent on is no request: {:?}", String::from_utf8_lossy(&plain.message));
        };
        let named = |name: &'static str| head.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        assert_eq!(named("transfer-encoding").count(), 0, "chunks are nothing plain");
        let lengths: Vec<_> = named("content-length").collect();
        assert!(lengths.len() <= 1, "several lengths");
        let said = lengths.first().map(|field| String::from_utf8_lossy(field.value).parse::<usize>());
        assert_eq!(said.unwrap_or(Ok(0)), Ok(plain.message.len() - length), "another length than that of the body");
        assert_eq!(named("host").count(), 1, "it is for nobody, or for several");
        assert!(
            !plain.message[..length].windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'),
            "a bare line feed"
        );
        // Read once more it is the same request.
        let request::Read::Plain(again) = request::read(&plain.message, Form::Origin) else {
            panic!("what was sent on is not plain: {:?}", String::from_utf8_lossy(&plain.message));
        };
        assert_eq!(again.taken, plain.message.len());
        assert_eq!(again.body(), plain.body());
    }
}

/// What an endpoint says ends at the same place, in whatever pieces it comes.
///
/// # Panics
/// When it does not.
pub(crate) fn answer(bytes: &[u8]) {
    for (to_head, ends) in [(false, false), (true, true)] {
        let mut out = Vec::new();
        let read = answer::read(bytes, to_head, ends, &mut out, |_, _| {});
        if let answer::Read::Head(head, length) = read {
            assert!(length <= bytes.len());
            same_in_pieces(head.framing, &bytes[length..]);
            let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut written = httparse::Response::new(&mut room);
            let is_whole = matches!(written.parse(&out), Ok(httparse::Status::Complete(length)) if length == out.len());
            assert!(is_whole, "what the client gets is no answer: {:?}", String::from_utf8_lossy(&out));
            let named =
                |name: &str| written.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).count();
            assert!(named("content-length") + named("transfer-encoding") <= 1, "its end can be understood in two ways");
        }
    }
    same_in_pieces(Framing::Chunked(Chunks::default()), bytes);
}

fn same_in_pieces(framing: Framing, body: &[u8]) {
    let (mut whole, mut pieces) = (framing, framing);
    let at_once = whole.take(body);
    let mut taken = 0;
    let mut one_by_one = Ok((0, false));
    for byte in body {
        match pieces.take(std::slice::from_ref(byte)) {
            Ok((count, has_ended)) => {
                taken += count;
                one_by_one = Ok((taken, has_ended));
                if has_ended {
                    break;
                }
            }
            Err(error) => {
                one_by_one = Err(error);
                break;
            }
        }
    }
    if !body.is_empty() {
        assert_eq!(at_once, one_by_one);
    }
}

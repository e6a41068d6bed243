//! What reads bytes of strangers, as functions of these bytes with what must hold of the outcome: for fuzzing.

use crate::{dns, http1, tcp};

/// A request of HTTP/1.1, as a server and as a proxy reads it: see [`http1`].
pub fn http1_request(bytes: &[u8]) {
    http1::foreign_request(bytes);
}

/// An answer of HTTP/1.1, its head and its body.
pub fn http1_answer(bytes: &[u8]) {
    http1::foreign_answer(bytes);
}

/// The first bytes of a connection, whoever speaks first. More bytes never change what was said of fewer.
///
/// # Panics
/// When they do.
pub fn first_bytes(bytes: &[u8]) {
    use tcp::sniff::{Greeting, Sniffed, greeting, sniff};
    let (said, greeted) = (sniff(bytes), greeting(bytes));
    for fewer in 0..bytes.len().min(64) {
        let (before, greeted_before) = (sniff(&bytes[..fewer]), greeting(&bytes[..fewer]));
        assert!(before == Sniffed::NeedMore || before == said, "{before:?}, then {said:?}");
        assert!(
            greeted_before == Greeting::NeedMore || greeted_before == greeted,
            "{greeted_before:?}, then {greeted:?}"
        );
    }
    if let Some(name) = tcp::sni::server_name(bytes) {
        assert!(!name.is_empty() && name.len() <= bytes.len(), "{name:?}");
    }
}

/// A question for names, or the answer of a name server.
pub fn dns(bytes: &[u8]) {
    dns::foreign_message(bytes);
}

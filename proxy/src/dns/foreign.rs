//! What must hold of messages, whoever has written them.

use super::message::{Nonsense, Question, answers, bytes_of, parse_answer};

/// Whatever asks is answered in no more bytes than it may be, and by an answer to this question; what a server says is cached only for
/// the question that it answers.
///
/// # Panics
/// When it is not.
pub(crate) fn message(bytes: &[u8]) {
    match Question::parse(bytes) {
        Ok(question) => {
            let asked = question.for_server(7);
            assert!(!bytes_of(&asked).is_empty(), "it cannot be passed on");
            assert!(question.name().len() <= 1024);
            if let Some(answer) = parse_answer(bytes) {
                assert!(!answers(&answer, &asked), "a question is no answer");
            }
        }
        // As a rule of a name server: not to be of use for an attack, an answer to nonsense is no longer than that.
        Err(Nonsense::Refused(answer)) => assert!(answer.len() <= bytes.len().max(64), "nonsense is made larger"),
        Err(Nonsense::Ignored) => {}
    }
    drop(parse_answer(bytes));
}

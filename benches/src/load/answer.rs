//! When an answer is complete, and whether it is right. Pure.

/// What an answer must look like.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// A 200 over HTTP/1.1 with a body of this length, delimited by Content-Length; the body's first byte is the backend's name.
    Http { body: usize },
    /// This many bytes; the first one is the backend's name.
    Message(u32),
}

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    shape: Shape,
    head: Vec<u8>,
    /// How much of the body is there.
    got: usize,
    backend: u8,
}

const MAX_HEAD: usize = 16 * 1024;

impl Answer {
    pub(crate) fn new(shape: Shape) -> Self {
        Self { shape, head: Vec::new(), got: 0, backend: 0 }
    }

    /// Makes it ready for the next answer.
    pub(crate) fn reset(&mut self) {
        self.head.clear();
        self.got = 0;
    }

    /// Takes bytes in and says who has answered, once the answer is complete.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Option<u8>, String> {
        match self.shape {
            Shape::Message(length) => self.body(bytes, length as usize),
            Shape::Http { body } if self.got > 0 => self.body(bytes, body),
            Shape::Http { body } => self.http(bytes, body),
        }
    }

    fn http(&mut self, bytes: &[u8], body: usize) -> Result<Option<u8>, String> {
        // Almost always the head comes whole, and is not copied.
        let kept = std::mem::take(&mut self.head);
        let whole = if kept.is_empty() { bytes } else { &[&kept, bytes].concat() };
        let Some(end) = whole.windows(4).position(|window| window == b"\r\n\r\n") else {
            self.head = whole.to_vec();
            return if whole.len() > MAX_HEAD { Err("a head without an end".to_owned()) } else { Ok(None) };
        };
        check_head(&whole[..end], body)?;
        let rest = &whole[end + 4..];
        if rest.is_empty() {
            self.head = whole.to_vec();
            return Ok(None);
        }
        self.body(rest, body)
    }

    fn body(&mut self, bytes: &[u8], length: usize) -> Result<Option<u8>, String> {
        if let (0, Some(first)) = (self.got, bytes.first()) {
            self.backend = *first;
        }
        self.got += bytes.len();
        match self.got {
            got if got > length => Err(format!("{} bytes more than asked for", got - length)),
            got => Ok((got == length).then_some(self.backend)),
        }
    }
}

fn check_head(head: &[u8], body: usize) -> Result<(), String> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        return Err(format!("answered {status:?}"));
    }
    let length =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    match length.map(|(_, value)| value.trim().parse::<usize>()) {
        Some(Ok(length)) if length == body => Ok(()),
        _ => Err(format!("no body of {body} bytes: {head:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Shape};

    const GOOD: &str = "HTTP/1.1 200 OK\r\nDate: x\r\ncontent-length: 3\r\n\r\n2xx";

    #[track_caller]
    fn check(parts: &[&str], expected: Result<Option<u8>, &str>) {
        let mut answer = Answer::new(Shape::Http { body: 3 });
        let mut last = Ok(None);
        for part in parts {
            assert_eq!(last, Ok(None), "{parts:?}");
            last = answer.feed(part.as_bytes());
        }
        match (last, expected) {
            (Err(found), Err(part)) => assert!(found.contains(part), "{found}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned), "{parts:?}"),
        }
    }

    #[test]
    fn an_answer_is_complete_however_it_is_cut() {
        check(&[GOOD], Ok(Some(b'2')));
        for cut in 1..GOOD.len() {
            check(&[&GOOD[..cut], &GOOD[cut..]], Ok(Some(b'2')));
            check(&[&GOOD[..cut]], Ok(None));
        }
        let bytes: Vec<_> = GOOD.split("").filter(|byte| !byte.is_empty()).collect();
        check(&bytes, Ok(Some(b'2')));
    }

    #[test]
    fn wrong_answers_are_told() {
        check(&["HTTP/1.1 503 Service Unavailable\r\n\r\n"], Err("503"));
        check(&["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n2x"], Err("no body of 3 bytes"));
        check(&["HTTP/1.1 200 OK\r\n\r\n"], Err("no body of 3 bytes"));
        check(&[GOOD, "x"][..1], Ok(Some(b'2')));
        check(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n2xxx"], Err("1 bytes more"));
    }

    #[test]
    fn a_message_is_counted() {
        let mut answer = Answer::new(Shape::Message(4));
        assert_eq!(answer.feed(b"3xx"), Ok(None));
        assert_eq!(answer.feed(b"x"), Ok(Some(b'3')));
        answer.reset();
        assert_eq!(answer.feed(b"1xxx"), Ok(Some(b'1')));
    }
}

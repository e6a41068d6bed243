//! What a client asks, judged and written anew. Pure.

use hyper::{Method, Uri, header::HOST, http::uri::PathAndQuery};

use super::fields::{self, Field, Span};
use crate::{destination::Destination, http::destination_of_absolute, policy::question::Head};

/// As many fields as a head may have here.
const MAX_FIELDS: usize = 100;

/// A body of this length is waited for; one that is longer is passed on while it comes, by somebody else.
const MAX_BODY: usize = 16 * 1024;

/// What has been read of a request.
#[derive(Debug)]
pub(super) enum Read {
    /// More must come before it can be judged.
    Partial,
    /// It may be plain once its body is here.
    Bodiless,
    /// It is plain.
    Plain(Plain),
    /// It is for somebody else to judge.
    Other,
}

/// A plain request, as it is sent to an endpoint.
#[derive(Debug, PartialEq)]
pub(super) struct Plain {
    /// Head and body.
    pub(super) message: Vec<u8>,
    /// Where the fields stand in it.
    fields: Span,
    /// Where the target stands in it, without the query.
    path: Span,
    /// Where the query stands in it, without the question mark.
    query: Span,
    /// Where the body begins.
    body: usize,
    pub(super) is_head: bool,
    pub(super) is_idempotent: bool,
    /// The client wants the connection to end after the answer.
    pub(super) ends: bool,
    /// Where it is to go, if its target says so.
    pub(super) destination: Option<Destination>,
    /// How many bytes of the input it has taken.
    pub(super) taken: usize,
}

/// In what form a client writes the target of its requests (RFC 9112, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As to a server.
    Origin,
    /// As to a proxy.
    Absolute,
}

/// Reads the request at the beginning of `input`.
pub(super) fn read(input: &[u8], form: Form) -> Read {
    // An empty line before a request is ignored (RFC 9112, section 2.2), and must not be sent on.
    if matches!(input.first(), Some(b'\r' | b'\n')) {
        return Read::Other;
    }
    let mut room = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut room);
    match head.parse(input) {
        Ok(httparse::Status::Complete(length)) => judge(input, &head, length, form).unwrap_or(Read::Other),
        Ok(httparse::Status::Partial) => Read::Partial,
        // Whoever it is handed on to says what is wrong with it.
        Err(_) => Read::Other,
    }
}

/// `None`: somebody else's business. What may be read in two ways must come out as such.
fn judge(input: &[u8], head: &httparse::Request<'_, '_>, head_length: usize, form: Form) -> Option<Read> {
    let (name, target) = (head.method?, head.path?);
    let method = Method::from_bytes(name.as_bytes()).ok().filter(|method| *method != Method::CONNECT)?;
    if head.version? != 1 {
        return None;
    }
    let mut ends = false;
    let mut length = None;
    let mut hosts = 0;
    for field in head.headers.iter() {
        match Field::of(field.name) {
            Field::Plain | Field::HopByHop | Field::ToProxy => {}
            Field::Host => hosts += 1,
            Field::Connection => {
                for token in fields::tokens(field.value) {
                    match token {
                        _ if token.eq_ignore_ascii_case(b"keep-alive") => {}
                        _ if token.eq_ignore_ascii_case(b"close") => ends = true,
                        _ => return None,
                    }
                }
            }
            Field::ContentLength if length.is_some() => return None,
            Field::ContentLength => length = Some(fields::length(field.value)?),
            // gRPC is told of failures in its own way.
            Field::ContentType if field.value.starts_with(b"application/grpc") => return None,
            Field::ContentType => {}
            Field::Expect | Field::Te | Field::Trailer | Field::TransferEncoding | Field::Upgrade => return None,
        }
    }
    // Without a length there is no body (RFC 9112, section 6.3).
    let length = usize::try_from(length.unwrap_or(0)).ok().filter(|length| *length <= MAX_BODY)?;
    let whole = head_length + length;
    // A target to a proxy says itself whom it is for.
    if hosts != 1 && !(hosts == 0 && form == Form::Absolute) {
        return None;
    }
    let proxied = match form {
        Form::Origin if target.starts_with('/') && !target.contains('#') => None,
        Form::Origin => return None,
        Form::Absolute => Some(Proxied::of(target)?),
    };
    if whole > input.len() {
        return Some(Read::Bodiless);
    }
    let mut message = Vec::with_capacity(whole + 64);
    message.extend_from_slice(name.as_bytes());
    message.push(b' ');
    let start = message.len();
    message.extend_from_slice(proxied.as_ref().map_or(target, |it| it.target.as_str()).as_bytes());
    let target = start..message.len();
    message.extend_from_slice(b" HTTP/1.1\r\n");
    let start = message.len();
    if let (0, Some(proxied)) = (hosts, &proxied) {
        fields::write(&mut message, "Host", proxied.authority.as_bytes());
    }
    for field in head.headers.iter() {
        match (Field::of(field.name), &proxied) {
            (Field::Connection | Field::HopByHop, _) | (Field::ToProxy, Some(_)) => {}
            (Field::Host, Some(proxied)) => fields::write(&mut message, field.name, proxied.authority.as_bytes()),
            _ => fields::write(&mut message, field.name, field.value),
        }
    }
    let written = start..message.len();
    message.extend_from_slice(b"\r\n");
    let body = message.len();
    message.extend_from_slice(&input[head_length..whole]);
    let question = message[target.clone()].iter().position(|byte| *byte == b'?');
    let path_end = question.map_or(target.end, |at| target.start + at);
    Some(Read::Plain(Plain {
        fields: Span::of(written),
        path: Span::of(target.start..path_end),
        query: Span::of((path_end + 1).min(target.end)..target.end),
        body,
        is_head: method == Method::HEAD,
        is_idempotent: method.is_idempotent(),
        ends,
        destination: proxied.map(|it| it.destination),
        taken: whole,
        message,
    }))
}

/// A target as clients write it to a proxy.
struct Proxied {
    destination: Destination,
    authority: String,
    target: String,
}

impl Proxied {
    fn of(target: &str) -> Option<Self> {
        let uri: Uri = target.parse().ok()?;
        let destination = destination_of_absolute(&uri)?;
        let authority = uri.authority()?.as_str();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned();
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        target.starts_with('/').then(|| Self { destination, authority, target: target.to_owned() })
    }
}

impl Plain {
    /// The body.
    pub(super) fn body(&self) -> &[u8] {
        &self.message[self.body..]
    }

    /// The fields, as they are written.
    fn fields(&self) -> &[u8] {
        &self.message[self.fields.range()]
    }
}

impl Head for Plain {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        fields::lines(self.fields())
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    fn path(&self) -> &[u8] {
        &self.message[self.path.range()]
    }

    fn query(&self) -> &[u8] {
        &self.message[self.query.range()]
    }

    fn authority(&self) -> Option<&[u8]> {
        self.first(HOST.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "Host: web\r\n";

    #[track_caller]
    fn plain(input: &str, form: Form) -> Plain {
        match read(input.as_bytes(), form) {
            Read::Plain(plain) => plain,
            other => panic!("{input:?} is {other:?}"),
        }
    }

    #[track_caller]
    fn check(input: &str, expected: &str) {
        let plain = plain(input, Form::Origin);
        assert_eq!(String::from_utf8_lossy(&plain.message), expected, "{input:?}");
        assert_eq!(plain.taken, input.len());
        for length in 0..input.len() {
            let part = read(&input.as_bytes()[..length], Form::Origin);
            assert!(matches!(part, Read::Partial | Read::Bodiless), "{length} of {input:?}");
        }
    }

    #[test]
    fn a_request_is_sent_on_without_what_concerns_the_connection() {
        check(
            "GET /a?b=c HTTP/1.1\r\nHost: web\r\nX-Y:  z \r\n\r\n",
            "GET /a?b=c HTTP/1.1\r\nHost: web\r\nX-Y: z\r\n\r\n",
        );
        check(
            "GET / HTTP/1.1\r\nConnection: Keep-Alive\r\nHost: web\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: web\r\n\r\n",
        );
        check(
            "POST /a HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello",
            "POST /a HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\n\r\nhello",
        );
        check("PURGE / HTTP/1.1\nHost: web\n\n", "PURGE / HTTP/1.1\r\nHost: web\r\n\r\n");
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        for fields in [
            "Connection: upgrade\r\nUpgrade: websocket\r\n",
            "Connection: X-Private\r\n",
            "Connection: close, te\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1, 1\r\n",
            "Content-Length: +1\r\n",
            "Content-Length: 99999999999999999999\r\n",
            "Content-Length: 16385\r\n",
            "Expect: 100-continue\r\n",
            "TE: trailers\r\n",
            "Trailer: x\r\n",
            "Content-Type: application/grpc+proto\r\n",
            "Host: other\r\n",
            "X: a\r\n b\r\n",
            "X : a\r\n",
            "X: a\0b\r\n",
        ] {
            let input = format!("POST / HTTP/1.1\r\n{HOST}{fields}\r\nx");
            assert!(matches!(read(input.as_bytes(), Form::Origin), Read::Other), "{input:?}");
        }
        for line in [
            "GET / HTTP/1.0",
            "GET http://web/ HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "CONNECT web:80 HTTP/1.1",
            "GET  / HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /a#b HTTP/1.1",
            "GE(T / HTTP/1.1",
            "nonsense",
        ] {
            let input = format!("{line}\r\n{HOST}\r\n");
            assert!(matches!(read(input.as_bytes(), Form::Origin), Read::Other), "{input:?}");
        }
        assert!(matches!(read(b"GET / HTTP/1.1\r\n\r\n", Form::Origin), Read::Other), "without a host");
        let many = (0..=MAX_FIELDS).map(|n| format!("x{n}: y\r\n")).collect::<String>();
        assert!(matches!(read(format!("GET / HTTP/1.1\r\n{HOST}{many}\r\n").as_bytes(), Form::Origin), Read::Other));
    }

    #[test]
    fn requests_to_a_proxy_become_those_to_a_server() {
        for (target, host, destination, expected) in [
            ("http://web.shop:81/a?b", "web.shop:81", Destination::Name("web.shop".to_owned(), 81), "/a?b"),
            ("http://web", "web", Destination::Name("web".to_owned(), 80), "/"),
            ("http://me:pass@web/x", "web", Destination::Name("web".to_owned(), 80), "/x"),
            ("http://10.0.0.1/", "10.0.0.1", Destination::Address("10.0.0.1:80".parse().unwrap()), "/"),
        ] {
            let input = format!("GET {target} HTTP/1.1\r\nhost: other\r\nProxy-Authorization: x\r\n\r\n");
            let plain = plain(&input, Form::Absolute);
            let message = format!("GET {expected} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            assert_eq!(String::from_utf8_lossy(&plain.message), message);
            assert_eq!(plain.destination, Some(destination));
        }
        for target in ["/", "https://web/", "http://", "web:80", "*"] {
            let input = format!("GET {target} HTTP/1.1\r\n{HOST}\r\n");
            assert!(matches!(read(input.as_bytes(), Form::Absolute), Read::Other), "{target}");
        }
    }

    #[test]
    fn a_target_to_a_proxy_needs_no_host() {
        let plain = plain("GET http://web/x HTTP/1.1\r\nA: b\r\n\r\n", Form::Absolute);
        assert_eq!(plain.message, b"GET /x HTTP/1.1\r\nHost: web\r\nA: b\r\n\r\n");
    }

    #[test]
    fn a_head_whose_body_is_on_its_way_is_known() {
        let head = format!("POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\n");
        assert!(matches!(read(head.as_bytes(), Form::Origin), Read::Bodiless));
        assert!(matches!(read(format!("{head}hell").as_bytes(), Form::Origin), Read::Bodiless));
        assert!(matches!(read(&head.as_bytes()[..head.len() - 1], Form::Origin), Read::Partial));
    }

    #[test]
    fn what_policies_ask_for_is_found() {
        let plain = plain(
            "POST /p/q?a=1&b=2 HTTP/1.1\r\nHost: Web\r\nCookie: a\r\ncookie: b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
            Form::Origin,
        );
        assert_eq!((plain.path(), plain.query(), plain.body()), (&b"/p/q"[..], &b"a=1&b=2"[..], &b"hi"[..]));
        assert_eq!(plain.all("cookie").collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!((plain.authority(), plain.first("x")), (Some(&b"Web"[..]), None));
        assert!(plain.ends && !plain.is_idempotent && !plain.is_head);
    }

    #[test]
    fn the_next_request_stays_where_it_is() {
        let first = "HEAD / HTTP/1.1\r\nHost: web\r\n\r\n";
        let plain = plain(&format!("{first}GET /2 HTTP/1.1\r\n"), Form::Origin);
        assert_eq!(plain.taken, first.len());
        assert!(plain.is_head && plain.is_idempotent && !plain.ends);
        assert!(plain.query().is_empty());
    }
}

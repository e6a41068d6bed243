//! What a policy is asked: everything about one request or connection that an endpoint is chosen for.

use std::{borrow::Cow, cell::RefCell, net::IpAddr, rc::Rc};

use bytes::Bytes;
use hyper::{
    header::{COOKIE, HOST, HeaderValue},
    http::request,
};
use wasmesh_policy_host::{RequestSource, Word};

use crate::clock::now_us;

/// What is said where nothing limits a request.
const NO_DEADLINE: u32 = u32::MAX;

/// What an endpoint is chosen for.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// What the built-in hash policies hash by.
    pub key: u64,
    /// Where strings, bodies and keys come from.
    pub source: &'a dyn RequestSource,
    /// What is spoken.
    pub kind: Kind,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP, of either version.
    Http,
    /// gRPC.
    Grpc,
    /// Opaque bytes.
    Tcp,
    /// TLS, passed through.
    Tls,
}

/// A connection as a policy sees it.
#[derive(Debug, Clone, Default)]
pub struct ConnectionSource {
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Whether the client speaks TLS.
    pub is_tls: bool,
    /// The name that a TLS client has asked for.
    pub server_name: Option<String>,
}

/// The head of a request, whoever has read it.
pub trait Head {
    /// The first value of the field with this name, which is in lower case.
    fn first(&self, name: &str) -> Option<&[u8]>;

    /// All values of the field with this name.
    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]>;

    /// The path of the target.
    fn path(&self) -> &[u8];

    /// The query of the target.
    fn query(&self) -> &[u8];

    /// Whom it is for.
    fn authority(&self) -> Option<&[u8]>;
}

impl Head for request::Parts {
    fn first(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(HeaderValue::as_bytes)
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }

    fn path(&self) -> &[u8] {
        self.uri.path().as_bytes()
    }

    fn query(&self) -> &[u8] {
        self.uri.query().unwrap_or_default().as_bytes()
    }

    fn authority(&self) -> Option<&[u8]> {
        match self.uri.authority() {
            Some(authority) => Some(authority.as_str().as_bytes()),
            None => self.first(HOST.as_str()),
        }
    }
}

/// An HTTP request as a policy sees it.
pub struct HttpSource<H> {
    head: Rc<H>,
    client: Option<IpAddr>,
    /// The beginning of the body, if the policy wants it.
    body: RefCell<Bytes>,
    started_us: u64,
}

impl RequestSource for ConnectionSource {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        match word {
            Word::SourceAddress => address(self.client),
            Word::Sni => self.server_name.as_deref().map(|name| Cow::Borrowed(name.as_bytes())),
            _ => None,
        }
    }

    fn body(&self) -> Bytes {
        Bytes::new()
    }

    fn deadline_ms(&self) -> u32 {
        NO_DEADLINE
    }
}

impl<H: Head> HttpSource<H> {
    /// A request whose head came at `started_us`.
    pub fn new(head: Rc<H>, client: Option<IpAddr>, started_us: u64) -> Self {
        Self { head, client, body: RefCell::default(), started_us }
    }

    /// The beginning of the body has come.
    pub fn set_body(&self, prefix: Bytes) {
        self.body.replace(prefix);
    }

    fn authority(&self) -> Option<Cow<'_, [u8]>> {
        let authority = self.head.authority()?;
        let lower = authority.iter().all(|byte| !byte.is_ascii_uppercase());
        Some(if lower { Cow::Borrowed(authority) } else { Cow::Owned(authority.to_ascii_lowercase()) })
    }
}

impl<H: Head> RequestSource for HttpSource<H> {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        match word {
            Word::Header(name) => self.head.first(name).map(Cow::Borrowed),
            Word::Cookie(name) => find(self.head.all(COOKIE.as_str()).flat_map(|value| pairs(value, b';')), name),
            Word::Query(name) => find(pairs(self.head.query(), b'&'), name),
            Word::Path => Some(Cow::Borrowed(self.head.path())),
            Word::Authority => self.authority(),
            Word::SourceAddress => address(self.client),
            // Taken from the body by the host, and what is not encrypted has no SNI.
            Word::Json { .. } | Word::Sni => None,
        }
    }

    fn body(&self) -> Bytes {
        self.body.borrow().clone()
    }

    fn deadline_ms(&self) -> u32 {
        let timeout = self.head.first("grpc-timeout").and_then(grpc_timeout_ms);
        let Some(timeout) = timeout else { return NO_DEADLINE };
        let spent = now_us().saturating_sub(self.started_us) / 1_000;
        u32::try_from(timeout.saturating_sub(spent)).unwrap_or(NO_DEADLINE - 1)
    }
}

fn address(client: Option<IpAddr>) -> Option<Cow<'static, [u8]>> {
    client.map(|client| Cow::Owned(client.to_canonical().to_string().into_bytes()))
}

/// The `name=value` pairs of a text.
fn pairs(text: &[u8], separator: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(move |byte| *byte == separator).filter_map(|pair| {
        let pair = pair.trim_ascii();
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

fn find<'a>(mut pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>, name: &str) -> Option<Cow<'a, [u8]>> {
    pairs.find(|(found, _)| *found == name.as_bytes()).map(|(_, value)| Cow::Borrowed(value))
}

/// `grpc-timeout`: at most eight digits and a unit (gRPC over HTTP/2, "Requests").
fn grpc_timeout_ms(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(amount * 3_600_000),
        b'M' => Some(amount * 60_000),
        b'S' => Some(amount * 1_000),
        b'm' => Some(amount),
        b'u' => Some(amount / 1_000),
        b'n' => Some(amount / 1_000_000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn source(build: impl FnOnce(request::Builder) -> request::Builder) -> HttpSource<request::Parts> {
        let (head, ()) = build(Request::builder()).body(()).unwrap().into_parts();
        HttpSource::new(Rc::new(head), Some([10, 1, 2, 3].into()), now_us())
    }

    fn text(source: &HttpSource<request::Parts>, word: &Word) -> Option<String> {
        source.value(word).map(|value| String::from_utf8(value.into_owned()).unwrap())
    }

    #[test]
    fn each_word_is_found_where_it_is() {
        let source = source(|request| {
            request
                .uri("/a/b?user=1&id=%41&id=2")
                .header("host", "Web.Default:80")
                .header("x-tenant", "red")
                .header("x-tenant", "blue")
                .header("cookie", "a=1; user=me")
                .header("cookie", "user=you")
        });
        let word = |text: &str| text.to_owned();
        assert_eq!(text(&source, &Word::Header(word("x-tenant"))).as_deref(), Some("red"));
        assert_eq!(text(&source, &Word::Header(word("x-other"))), None);
        assert_eq!(text(&source, &Word::Cookie(word("user"))).as_deref(), Some("me"));
        assert_eq!(text(&source, &Word::Query(word("id"))).as_deref(), Some("%41"));
        assert_eq!(text(&source, &Word::Query(word("none"))), None);
        assert_eq!(text(&source, &Word::Path).as_deref(), Some("/a/b"));
        assert_eq!(text(&source, &Word::Authority).as_deref(), Some("web.default:80"));
        assert_eq!(text(&source, &Word::SourceAddress).as_deref(), Some("10.1.2.3"));
        assert_eq!(text(&source, &Word::Sni), None);
        assert_eq!(source.deadline_ms(), NO_DEADLINE);
    }

    #[test]
    fn deadlines_of_grpc_are_read() {
        assert_eq!(grpc_timeout_ms(b"5S"), Some(5_000));
        assert_eq!(grpc_timeout_ms(b"250m"), Some(250));
        assert_eq!(grpc_timeout_ms(b"1999u"), Some(1));
        assert_eq!(grpc_timeout_ms(b"99999999H"), Some(99_999_999 * 3_600_000));
        for bad in ["", "S", "5", "123456789S", "-1S", "1x"] {
            assert_eq!(grpc_timeout_ms(bad.as_bytes()), None, "{bad}");
        }
        let source = source(|request| request.uri("/").header("grpc-timeout", "2S"));
        assert!((1..=2_000).contains(&source.deadline_ms()));
    }
}

//! Request smuggling: whatever a client sends, the proxy and the backend behind it agree on where every request ends.
//!
//! Each case is sent on a connection of its own, followed at once by a request of which everybody knows where it begins. A backend
//! that takes nothing for granted writes down every byte that it gets. What it gets must be beyond doubt, so that no other backend
//! could read something else in it; what is answered must be the answers to these requests, in their order; and nothing of a case may
//! turn up as a request that its client has not sent as one.
//!
//! The cases: Linhart, Klein, Heled, Orrin, "HTTP Request Smuggling" (2005); Kettle, "HTTP Desync Attacks" (2019) and "HTTP/2: The Sequel
//! is Always Worse" (2021); RFC 9112, sections 2.2, 3, 5.2, 6 and 7; RFC 9113, section 8.

use std::{
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

use wasmesh_proxy::tcp::sniff::{Sniffed, sniff};
use wasmesh_tests::{Connection, Mesh, Scripted, Service};

/// A request that was understood by the letter of RFC 9112, and all doubts about it.
#[derive(Debug, Clone)]
struct Understood {
    method: String,
    target: String,
    body: Vec<u8>,
    doubts: Vec<String>,
}

type Seen = Arc<Mutex<Vec<Understood>>>;

/// Understands requests one by one, answers each with its target, and writes down what could be understood otherwise.
fn recorder() -> (Scripted, Seen) {
    let seen = Seen::default();
    let record = Arc::clone(&seen);
    let backend = Scripted::start(move |mut connection| {
        while let Some(request) = understand(&mut connection) {
            let target = request.target.clone();
            let is_hopeless = !request.doubts.is_empty();
            let has_body = request.method != "HEAD";
            record.lock().unwrap().push(request);
            let body = if has_body { target.as_str() } else { "" };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", target.len());
            if connection.send(answer).is_err() || is_hopeless {
                return;
            }
        }
    });
    (backend, seen)
}

/// The next request; `None` at the end of the connection.
fn understand(connection: &mut Connection) -> Option<Understood> {
    let mut doubts = Vec::new();
    let mut doubt = |words: String| doubts.push(words);
    let (mut lengths, mut codings) = (Vec::new(), Vec::new());
    let first = exact_line(connection, &mut doubt)?;
    let mut words = first.split(' ');
    let (method, target, version) =
        (words.next()?.to_owned(), words.next().unwrap_or_default().to_owned(), words.next());
    if version != Some("HTTP/1.1") || words.next().is_some() || target.is_empty() {
        doubt(format!("request line {first:?}"));
    }
    loop {
        let line = exact_line(connection, &mut doubt)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            doubt(format!("field {line:?}"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => codings.push(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = Vec::new();
    match (&lengths[..], &codings[..]) {
        ([], []) => {}
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            body = connection.read_exactly(length.parse().ok()?).ok()?;
        }
        ([], [coding]) if coding == "chunked" => body = exact_chunks(connection, &mut doubt)?,
        _ => doubt(format!("framing by {lengths:?} and {codings:?}")),
    }
    Some(Understood { method, target, body, doubts })
}

/// A line that ends with CRLF and has neither CR nor NUL in it.
fn exact_line(connection: &mut Connection, doubt: &mut impl FnMut(String)) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.extend(connection.read_exactly(1).ok()?);
    }
    let is_exact = line.ends_with(b"\r\n");
    let text = String::from_utf8_lossy(&line[..line.len() - if is_exact { 2 } else { 1 }]).into_owned();
    if !is_exact || text.contains(['\r', '\0']) || text.starts_with([' ', '\t']) {
        doubt(format!("line {:?}", String::from_utf8_lossy(&line)));
    }
    Some(text)
}

fn exact_chunks(connection: &mut Connection, doubt: &mut impl FnMut(String)) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = exact_line(connection, doubt)?;
        let is_plain = !size.is_empty() && size.len() <= 8 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_plain {
            doubt(format!("chunk size {size:?}"));
            return Some(body);
        }
        let length = usize::from_str_radix(&size, 16).ok()?;
        if length == 0 {
            while !exact_line(connection, doubt)?.is_empty() {}
            return Some(body);
        }
        body.extend(connection.read_exactly(length).ok()?);
        if connection.read_exactly(2).ok()? != b"\r\n" {
            doubt("a chunk that does not end where it should".to_owned());
            return Some(body);
        }
    }
}

/// What a client was answered until the connection ended or nothing more came: statuses, and the bodies of those that are 200.
fn answers(client: &mut Connection, method: &str) -> Vec<(u16, String)> {
    let mut answers = Vec::new();
    let mut method = method;
    while let Ok(answer) = client.response(method) {
        answers.push((answer.status, answer.text()));
        method = "GET";
    }
    answers
}

/// After this long without a word nothing more will come.
const SILENCE: Duration = Duration::from_millis(400);

const CANARY: &str = "GET /canary HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n";

/// One thing to try.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    /// What follows is a request of its own, by the letter of RFC 9112 section 6.3, if a recipient goes on at all.
    ends_before: bool,
    /// There is nothing wrong with it: it must be answered, and what comes after it too.
    is_fine: bool,
}

impl Case {
    fn ends_before(self) -> Self {
        Self { ends_before: true, ..self }
    }

    fn fine(self) -> Self {
        Self { is_fine: true, ..self }
    }
}

fn case(what: &'static str, bytes: impl Into<Vec<u8>>) -> Case {
    Case { what, bytes: bytes.into(), ends_before: false, is_fine: false }
}

/// A POST with these fields and this body.
fn post(what: &'static str, fields: &str, body: &str) -> Case {
    case(what, format!("POST /case HTTP/1.1\r\nHost: web\r\n{fields}\r\n{body}"))
}

fn cases() -> Vec<Case> {
    let length = SMUGGLED.len();
    let hidden = format!("0\r\n\r\n{SMUGGLED}");
    let both = |fields: &str| fields.replace("LEN", &hidden.len().to_string());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut cases = vec![
        post("no body", "", "").fine(),
        post("two equal lengths", "Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
        post("two lengths, the first shorter", &format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), SMUGGLED),
        post("two lengths, the first longer", &format!("Content-Length: {length}\r\nContent-Length: 0\r\n"), SMUGGLED),
        post("a list of equal lengths", "Content-Length: 5, 5\r\n", "hello"),
        post("a list of lengths", &format!("Content-Length: 0, {length}\r\n"), SMUGGLED),
        post("length with a sign", &format!("Content-Length: +{length}\r\n"), SMUGGLED),
        post("negative length", "Content-Length: -1\r\n", SMUGGLED),
        post("hexadecimal length", "Content-Length: 0x5\r\n", "hello"),
        post("length with an underscore", "Content-Length: 1_0\r\n", "hellohello"),
        post("length with a space in it", "Content-Length: 1 0\r\n", "hellohello"),
        post("empty length", "Content-Length: \r\n", SMUGGLED),
        post("huge length", "Content-Length: 18446744073709551617\r\n", SMUGGLED),
        post("length with zeros in front", "Content-Length: 005\r\n", "hello"),
        post("space before the colon", &format!("Content-Length : {length}\r\n"), SMUGGLED),
        post("length in a folded line", &format!("Content-Length:\r\n {length}\r\n"), SMUGGLED),
        post("length after a vertical tab", &format!("Content-Length: \x0b{length}\r\n"), SMUGGLED),
        post("GET-like length of a word", "Content-Length: five\r\n", "hello"),
        post("length, then chunks", &both("Content-Length: LEN\r\nTransfer-Encoding: chunked\r\n"), &hidden)
            .ends_before(),
        post("chunks, then length", &both("Transfer-Encoding: chunked\r\nContent-Length: LEN\r\n"), &hidden)
            .ends_before(),
        post("short length and chunks", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &hidden).ends_before(),
        post("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &hidden),
        post("chunked, chunked", "Transfer-Encoding: chunked, chunked\r\n", &hidden),
        post("chunked, then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", &hidden),
        post("identity and a length", &both("Transfer-Encoding: identity\r\nContent-Length: LEN\r\n"), &hidden),
        post("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", &hidden),
        post("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n", &hidden),
        post("xchunked and a length", &both("Transfer-Encoding: xchunked\r\nContent-Length: LEN\r\n"), &hidden),
        post("chunked in quotes", &both("Transfer-Encoding: \"chunked\"\r\nContent-Length: LEN\r\n"), &hidden),
        post("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n", &hidden),
        post("chunked after a tab", &both("Transfer-Encoding:\tchunked\r\nContent-Length: LEN\r\n"), &hidden)
            .ends_before(),
        post(
            "chunked after a vertical tab",
            &both("Transfer-Encoding: \x0bchunked\r\nContent-Length: LEN\r\n"),
            &hidden,
        ),
        post(
            "chunked with a space before the colon",
            &both("Transfer-Encoding : chunked\r\nContent-Length: LEN\r\n"),
            &hidden,
        ),
        post("chunked in a folded line", &both("Transfer-Encoding:\r\n chunked\r\nContent-Length: LEN\r\n"), &hidden),
        post("chunked behind a bare LF", &both("X: y\nTransfer-Encoding: chunked\r\nContent-Length: LEN\r\n"), &hidden),
        post("chunked behind a bare CR", &both("X: y\rTransfer-Encoding: chunked\r\nContent-Length: LEN\r\n"), &hidden),
        post("chunked behind a NUL", &both("X: y\0\r\nTransfer-Encoding: chunked\r\nContent-Length: LEN\r\n"), &hidden),
        post("capital CHUNKED", "Transfer-Encoding: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n").fine(),
        post("a field without a colon", "Transfer-Encoding\r\n", &hidden),
        post("a field without a name", ": chunked\r\n", ""),
        post("a first field that is folded", " X: y\r\n", ""),
        post("chunks", chunked, "5\r\nhello\r\n0\r\n\r\n").fine(),
        post("chunks with an extension", chunked, "5;a=b\r\nhello\r\n0\r\n\r\n"),
        post("chunk extension with a bare LF", chunked, &format!("5;a\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        post("chunk extension in quotes with CRLF", chunked, "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
        post("chunk size with a bare LF", chunked, "5\nhello\r\n0\r\n\r\n"),
        post("chunk data with a bare LF", chunked, "5\r\nhello\n0\r\n\r\n"),
        post("chunk data that is longer than said", chunked, &format!("5\r\nhello!\r\n0\r\n\r\n{SMUGGLED}")),
        post("chunk size 0x5", chunked, "0x5\r\nhello\r\n0\r\n\r\n"),
        post("chunk size +5", chunked, "+5\r\nhello\r\n0\r\n\r\n"),
        post("chunk size -1", chunked, &format!("-1\r\n{SMUGGLED}")),
        post("chunk size with a space", chunked, "5 \r\nhello\r\n0\r\n\r\n"),
        post("chunk size that overflows", chunked, &format!("10000000000000005\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        post("chunk size that is empty", chunked, &format!("\r\nhello\r\n0\r\n\r\n{SMUGGLED}")),
        post("last chunk 000", chunked, "5\r\nhello\r\n000\r\n\r\n").fine(),
        post("trailers that frame", chunked, &format!("0\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}")).ends_before(),
        post("trailer with a bare LF", chunked, &format!("0\r\nX: y\n\r\n{SMUGGLED}")),
        post(
            "length named by Connection",
            &format!("Connection: Content-Length\r\nContent-Length: {length}\r\n"),
            SMUGGLED,
        ),
        post("chunked named by Connection", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", &hidden)
            .ends_before(),
        case("bare LF everywhere", "GET /case HTTP/1.1\nHost: web\n\n"),
        case("LF CR", "GET /case HTTP/1.1\n\rHost: web\r\n\r\n"),
        case("empty lines before", "\r\n\r\nGET /case HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("two spaces in the request line", "GET  /case HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("tab in the request line", "GET\t/case HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("a space in the target", "GET /case /smuggled HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("a version in the target", "GET /case HTTP/1.1 HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("no version", "GET /case\r\n\r\n"),
        case("version 1.2", "GET /case HTTP/1.2\r\nHost: web\r\n\r\n"),
        case("version 2.0", "GET /case HTTP/2.0\r\nHost: web\r\n\r\n"),
        case("version 1.01", "GET /case HTTP/1.01\r\nHost: web\r\n\r\n"),
        case("version with a bare CR", "GET /case HTTP/1.1\rX\r\nHost: web\r\n\r\n"),
        case("no host", "GET /case HTTP/1.1\r\n\r\n"),
        case("two hosts", "GET /case HTTP/1.1\r\nHost: web\r\nHost: other\r\n\r\n"),
        case("absolute target and another host", "GET http://web/case HTTP/1.1\r\nHost: other\r\n\r\n"),
        case("absolute target of somebody else", "GET http://other/case HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("user in the target", "GET http://web@other/case HTTP/1.1\r\nHost: web\r\n\r\n"),
        case(
            "chunks of HTTP/1.0",
            format!("POST /case HTTP/1.0\r\nHost: web\r\nConnection: keep-alive\r\n{chunked}\r\n{hidden}"),
        ),
        case(
            "GET with a length",
            format!("GET /case HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"),
        ),
        case("GET with chunks", format!("GET /case HTTP/1.1\r\nHost: web\r\n{chunked}\r\n{hidden}")).ends_before(),
        case(
            "HEAD with a length",
            format!("HEAD /case HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"),
        ),
        case("a method in lower case", "get /case HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("a method with a bracket", "GE(T /case HTTP/1.1\r\nHost: web\r\n\r\n"),
        case("a target with a control character", "GET /case\x01 HTTP/1.1\r\nHost: web\r\n\r\n"),
        case(
            "Upgrade: h2c",
            format!(
                "GET /case HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
            ),
        ),
        case(
            "Expect with a length",
            format!(
                "POST /case HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
            ),
        ),
        case("bytes beyond ASCII", "GET /case\u{e9} HTTP/1.1\r\nHost: web\r\nX: \u{e9}\r\n\r\n"),
    ];
    // A field whose name others may take for that of the framing.
    for name in ["Transfer_Encoding", "Transfer-Encoding\u{a0}", "X\u{0}Transfer-Encoding", "\u{b}Transfer-Encoding"] {
        cases.push(case(
            "a name that looks alike",
            format!(
                "POST /case HTTP/1.1\r\nHost: web\r\n{name}: chunked\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            ),
        ));
    }
    cases
}

#[test]
fn front_and_back_agree_on_where_every_request_ends() {
    let (backend, seen) = recorder();
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    // On a connection to the Service's name, as captured ones are, and all at once or byte by byte: what comes in pieces takes another way.
    // What does not begin as HTTP does is carried as bytes: nobody in between takes it for requests.
    let cases = cases().into_iter().filter(|case| sniff(&case.bytes) != Sniffed::Opaque);
    for (number, case) in cases.enumerate() {
        for in_pieces in [false, true] {
            let what = format!("{}{}", case.what, if in_pieces { ", in pieces" } else { "" });
            // What an earlier case has left on its way is not this one's.
            let mark = format!("{:04}", 2 * number + usize::from(in_pieces));
            let mut client = mesh.connect();
            client.send("CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
            assert_eq!(client.head().unwrap().status, 200);
            let bytes = marked(&[&case.bytes[..], CANARY.as_bytes()].concat(), &mark);
            let pieces: Vec<&[u8]> = if in_pieces { bytes.chunks(7).collect() } else { vec![&bytes] };
            // Somebody who waits for more of a request has no answer to give.
            client.writer().unwrap().set_read_timeout(Some(SILENCE)).unwrap();
            // Whoever is refused is not listened to any more.
            let _sent = pieces.iter().try_for_each(|piece| client.send(piece));
            let method = if case.bytes.starts_with(b"HEAD") { "HEAD" } else { "GET" };
            let answered = answers(&mut client, method);
            let of_case = |request: &&Understood| request.target.contains(&mark) || !request.doubts.is_empty();
            let seen: Vec<_> = seen.lock().unwrap().iter().filter(of_case).cloned().collect();
            check(&what, &case, &mark, &answered, &seen);
        }
    }
}

/// The same with targets of its own, of the same length.
fn marked(bytes: &[u8], mark: &str) -> Vec<u8> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let text = text.replace("/case", &format!("/{mark}")).replace("/canary", &format!("/ca{mark}"));
    let text = text.replace("/smuggled", &format!("/smug{mark}"));
    text.chars().map(|letter| letter as u8).collect()
}

fn check(what: &str, case: &Case, mark: &str, answered: &[(u16, String)], seen: &[Understood]) {
    let sent = String::from_utf8_lossy(&case.bytes);
    let context = || format!("{what}\n  sent {sent:?}\n  answered {answered:?}\n  backend {seen:?}");
    if let Some(request) = seen.iter().find(|request| !request.doubts.is_empty()) {
        panic!("the backend may understand this or that: {:?}\n{}", request.doubts, context());
    }
    let is_canary = |request: &&Understood| request.target == format!("/ca{mark}");
    assert!(seen.iter().filter(is_canary).all(|canary| canary.body.is_empty()), "{}", context());
    // What was sent as a request of its own may be one.
    let is_sent = |request: &Understood| !request.target.starts_with("/smug") || case.ends_before;
    assert!(seen.iter().all(is_sent), "a request was smuggled: {}", context());
    let to_head = case.bytes.starts_with(b"HEAD");
    let echoes = seen.iter().enumerate().map(|(at, request)| if to_head && at == 0 { "" } else { &request.target });
    let echoed = answered.iter().filter(|(status, _)| *status == 200).map(|(_, body)| body.as_str());
    // Some may not have come yet; none may have come in another's place.
    let are_theirs = echoed.clone().count() <= seen.len() && echoed.zip(echoes).all(|(echoed, echo)| echoed == echo);
    assert!(are_theirs, "answers of other requests: {}", context());
    if case.is_fine {
        assert_eq!(seen.last().map(|request| request.target.clone()), Some(format!("/ca{mark}")), "{}", context());
        assert!(answered.len() == seen.len() && seen.len() > 1, "{}", context());
    }
    let refused = answered.iter().position(|(status, _)| *status >= 400);
    assert!(refused.is_none_or(|at| at + 1 == answered.len()), "it was listened to after a refusal: {}", context());
}

/// The frames of HTTP/2 by hand: no library would send what is wrong.
mod frames {
    pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Literal fields, not indexed and not compressed (RFC 7541, 6.2.2).
    pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
        let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
    }
}

/// Requests of HTTP/2 that would be others if somebody wrote them down as HTTP/1.1.
#[test]
fn pseudo_headers_and_fields_of_http_2_cannot_become_anything_else() {
    use wasmesh_tests::{Http2Backend, Http2Options};
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let record = Arc::clone(&seen);
    let backend = Http2Backend::with(Http2Options::default().script(move |mut call| {
        let head = format!("{} {} {:?}", call.request.method(), call.request.uri(), call.request.headers());
        record.lock().unwrap().push(head);
        async move {
            let answer = hyper::Response::new(());
            let _ = call.respond.send_response(answer, true);
        }
    }));
    let mesh = Mesh::of([Service::new("web").endpoint(&backend)]);
    let base = [(":method", "POST"), (":scheme", "http"), (":authority", "web"), (":path", "/case")];
    let with = |extra: &[(&'static str, &'static str)]| [&base[..], extra].concat();
    let instead =
        |name: &str, value: &'static str| base.map(|(n, v)| if n == name { (n, value) } else { (n, v) }).to_vec();
    let injected = "/case HTTP/1.1\r\nHost: web\r\n\r\nGET /smuggled";
    let cases: Vec<(&str, Vec<(&str, &str)>)> = vec![
        ("CRLF in the path", instead(":path", injected)),
        ("a space in the path", instead(":path", "/case HTTP/1.1")),
        ("LF in the path", instead(":path", "/case\nx")),
        ("NUL in the path", instead(":path", "/case\0")),
        ("an empty path", instead(":path", "")),
        ("CRLF in the method", instead(":method", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET")),
        ("a space in the method", instead(":method", "GET /smuggled")),
        ("CRLF in the authority", instead(":authority", "web\r\nX: y")),
        ("a path in the authority", instead(":authority", "web/smuggled")),
        ("CRLF in the scheme", instead(":scheme", "http://web/smuggled\r\nX: y")),
        ("two paths", with(&[(":path", "/smuggled")])),
        ("two methods", with(&[(":method", "GET")])),
        ("a pseudo-header after fields", [&[("x", "y")][..], &base].concat()),
        ("an unknown pseudo-header", with(&[(":smuggled", "yes")])),
        ("a pseudo-header of answers", with(&[(":status", "200")])),
        ("no path", base[..3].to_vec()),
        ("no method", base[1..].to_vec()),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("connection", with(&[("connection", "keep-alive")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te, other than trailers", with(&[("te", "chunked")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "5")])),
        ("a length that is none", with(&[("content-length", "+5")])),
        ("CRLF in a value", with(&[("x", "y\r\ntransfer-encoding: chunked")])),
        ("NUL in a value", with(&[("x", "y\0z")])),
        ("CRLF in a name", with(&[("x\r\ny", "z")])),
        ("a colon in a name", with(&[("x: y", "z")])),
        ("a space in a name", with(&[("x y", "z")])),
        ("capitals in a name", with(&[("X-Upper", "z")])),
        ("an empty name", with(&[("", "z")])),
        ("another host", with(&[("host", "other")])),
    ];
    let mut has_passed = false;
    for (what, fields) in cases {
        for body in [&b""[..], b"GET /smuggled HTTP/1.1\r\nHost: web\r\n\r\n"] {
            seen.lock().unwrap().clear();
            let mut client = mesh.connect();
            client.send("CONNECT web:80 HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
            assert_eq!(client.head().unwrap().status, 200);
            let head = frames::frame(1, if body.is_empty() { 5 } else { 4 }, 1, &frames::fields(&fields));
            let data = if body.is_empty() { Vec::new() } else { frames::frame(0, 1, 1, body) };
            let canary = frames::frame(
                1,
                5,
                3,
                &frames::fields(&base.map(|(n, v)| if n == ":path" { (n, "/canary") } else { (n, v) })),
            );
            let bytes = [frames::PREFACE, &frames::frame(4, 0, 0, &[]), &head, &data, &canary].concat();
            let _sent = client.send(&bytes);
            let mut stream = client.writer().unwrap();
            stream.set_read_timeout(Some(SILENCE)).unwrap();
            let mut answer = Vec::new();
            let _ended = stream.read_to_end(&mut answer);
            for head in seen.lock().unwrap().iter() {
                has_passed |= head.contains("/canary");
                let fine = head.contains("/case") || head.contains("/canary");
                let odd = ["smuggled", "\\r", "\\n", "\\0", "transfer-encoding", "\"connection\"", "upgrade"];
                let is_odd = odd.iter().any(|odd| head.contains(odd));
                assert!(fine && !is_odd, "{what}: the backend got {head}");
            }
        }
    }
    assert!(has_passed, "nothing has reached the backend");
}

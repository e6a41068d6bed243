//! Asks an admin server for a page: one GET on a connection of its own, with the errors that people meet.

use std::{
    fmt, io,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;

/// To connect, and again for each read: admin servers answer at once.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The largest page that is read. Ten thousand services with all their endpoints stay below it.
const MAX_PAGE_BYTES: u64 = 256 * 1024 * 1024;

/// The longest reason for an answer that is none.
const MAX_REASON_BYTES: u64 = 4096;

/// Where an admin server listens: `HOST:PORT`, also as the beginning of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminAddr(String);

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Gets a JSON page, or says what is wrong in the words of whoever typed the address.
pub(crate) fn page(addr: &AdminAddr, path: &str) -> anyhow::Result<Value> {
    let answer = get(addr, path)?;
    match answer.status {
        200 => serde_json::from_str(&answer.body)
            .with_context(|| format!("{addr} is not a wasmesh admin port: its {path} is no JSON")),
        403 => bail!("{addr}: {}", answer.body.trim()),
        status => bail!("{addr} is not a wasmesh admin port: it answers {path} with status {status}"),
    }
}

/// Gets any page.
pub(crate) fn get(addr: &AdminAddr, path: &str) -> anyhow::Result<Answer> {
    let mut stream = connect(addr)?;
    let exchanged = exchange(&mut stream, addr, path);
    let bytes = exchanged.with_context(|| format!("{addr} does not answer as a wasmesh admin port does"))?;
    let text = String::from_utf8_lossy(&bytes);
    parse(&text).with_context(|| format!("{addr} is not a wasmesh admin port"))
}

/// Passes on what comes of a page that goes on for some time, as it comes, to what is opened when it begins. `patience` is how long it
/// may be silent.
///
/// # Errors
/// It cannot be had, with the reason that it gives; or it breaks off, or cannot be passed on.
pub(crate) fn follow<W: Write>(
    addr: &AdminAddr,
    path: &str,
    patience: Duration,
    open: impl FnOnce() -> anyhow::Result<W>,
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(connect(addr)?);
    let silent = || format!("{addr} does not answer as a wasmesh admin port does");
    request(stream.get_mut(), addr, path, patience).with_context(silent)?;
    let mut head = String::new();
    while !head.ends_with(HEAD_END) {
        if stream.read_line(&mut head).with_context(silent)? == 0 {
            bail!("{addr} is not a wasmesh admin port: it does not speak HTTP/1.1");
        }
    }
    let status = status(&head).with_context(|| format!("{addr} is not a wasmesh admin port"))?;
    if status != 200 {
        let mut why = String::new();
        stream.take(MAX_REASON_BYTES).read_to_string(&mut why).with_context(silent)?;
        bail!("{addr}: {}", why.trim());
    }
    let mut to = open()?;
    io::copy(&mut stream, &mut to).context("it breaks off")?;
    to.flush().context("it cannot be written to its end")
}

fn connect(addr: &AdminAddr) -> anyhow::Result<TcpStream> {
    let resolved = addr.0.to_socket_addrs().with_context(|| format!("cannot resolve {addr}"))?;
    let mut last = None;
    for socket_addr in resolved {
        match TcpStream::connect_timeout(&socket_addr, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    let Some(error) = last else { bail!("{addr} has no address") };
    if error.kind() == io::ErrorKind::ConnectionRefused {
        bail!(
            "nothing listens on {addr}: proxies and control planes print their admin address when they start, as \
             `listening admin ADDR` (by default 127.0.0.1:19020 and 127.0.0.1:19014); those of a cluster are found with --pod \
             or --control-plane"
        );
    }
    Err(error).with_context(|| format!("cannot connect to {addr}"))
}

/// In HTTP/1.0: then no server chunks its answer, and the end of the connection is the end of the page.
fn exchange(stream: &mut TcpStream, addr: &AdminAddr, path: &str) -> io::Result<Vec<u8>> {
    request(stream, addr, path, TIMEOUT)?;
    let mut bytes = Vec::new();
    stream.take(MAX_PAGE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn request(stream: &mut TcpStream, addr: &AdminAddr, path: &str, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\nAccept: application/json\r\n\r\n")
}

fn parse(text: &str) -> anyhow::Result<Answer> {
    let (head, body) = text.split_once(HEAD_END).context("it does not speak HTTP/1.1")?;
    let status = status(head)?;
    let length = head.lines().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
        let length: usize = value.trim().parse().ok()?;
        name.eq_ignore_ascii_case("content-length").then_some(length)
    });
    if length.is_some_and(|length| body.len() < length) {
        bail!("its answer breaks off");
    }
    Ok(Answer { status, body: body.to_owned() })
}

fn status(head: &str) -> anyhow::Result<u16> {
    let first =
        head.strip_prefix("HTTP/1.").and_then(|head| head.lines().next()).context("it does not speak HTTP/1.1")?;
    first.split_whitespace().nth(1).and_then(|status| status.parse().ok()).context("it answers without a status")
}

/// An empty line.
const HEAD_END: &str = "\r\n\r\n";

impl FromStr for AdminAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let addr = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let is_addr = addr.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        let is_plain = !addr.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
        if is_addr && is_plain {
            Ok(Self(addr.to_owned()))
        } else {
            Err("expected HOST:PORT, such as 127.0.0.1:19020".to_owned())
        }
    }
}

impl From<std::net::SocketAddr> for AdminAddr {
    fn from(addr: std::net::SocketAddr) -> Self {
        Self(addr.to_string())
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{AdminAddr, Answer, parse};

    #[test]
    fn addresses_have_a_port() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<AdminAddr>().ok().map(|addr| addr.0).as_deref(), expected, "{text:?}");
        };
        check("127.0.0.1:19020", Some("127.0.0.1:19020"));
        check("[::1]:19020", Some("[::1]:19020"));
        check("localhost:1", Some("localhost:1"));
        check("http://localhost:1/", Some("localhost:1"));
        for wrong in ["", "19020", ":19020", "localhost", "localhost:x", "localhost:70000", "a b:1", "http://a/b:1"] {
            check(wrong, None);
        }
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let page = |status, body: &str| Some(Answer { status, body: body.to_owned() });
        let check = |text: &str, expected: Option<Answer>| assert_eq!(parse(text).ok(), expected, "{text:?}");
        check("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", page(200, "{}"));
        check("HTTP/1.1 404 Not Found\r\n\r\nno", page(404, "no"));
        check("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", None);
        for foreign in ["", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1\r\n\r\n", "HTTP/2"] {
            check(foreign, None);
        }
    }
}

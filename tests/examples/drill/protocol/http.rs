//! HTTP/1.1 over kept connections: GET and POST in turn. By hand, because endpoints have to break it anywhere.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::sleep,
};

use super::{GARBAGE, broken, note, patiently};
use crate::{
    endpoint::{Mood, Shared},
    ledger::{Id, Ledger, Place},
};

/// What is large, and how large. It has no number.
const LARGE: &str = "/large";
const LARGE_BYTES: u64 = 64 << 20;

/// What a POST carries.
const BODY: [u8; 100] = [b'x'; 100];

/// The head of a message, as far as it is of interest.
#[derive(Debug)]
struct Head {
    first_line: String,
    length: usize,
    closes: bool,
}

pub(super) async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let head = tokio::select! {
            biased;
            head = read_head(&mut reader) => head?,
            () = shared.is(Mood::Leaving) => return Ok(()),
        };
        let Some(head) = head else { return Ok(()) };
        if head.first_line.contains(LARGE) {
            writer.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE_BYTES}\r\n\r\n").as_bytes()).await?;
            tokio::io::copy(&mut tokio::io::repeat(b'x').take(LARGE_BYTES), &mut writer).await?;
            continue;
        }
        let id = id_of(&head.first_line).ok_or_else(broken)?;
        shared.ledger.got(id);
        reader.read_exact(&mut vec![0; head.length]).await?;
        shared.think().await;
        let body = format!("{id} {}\n", shared.place);
        let mood = shared.mood();
        // RFC 9112, 9.6: so that nobody sends another one.
        let last = if mood == Mood::Leaving { "Connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{last}\r\n{body}", body.len());
        match mood {
            Mood::Closing => return Ok(()),
            Mood::Garbage => {
                writer.write_all(GARBAGE).await?;
                return Ok(());
            }
            Mood::Breaking => {
                writer.write_all(&answer.as_bytes()[..answer.len() - 3]).await?;
                return Err(broken());
            }
            _ => writer.write_all(answer.as_bytes()).await?,
        }
        shared.ledger.answered(id, shared.place);
        if mood == Mood::Leaving {
            return Ok(());
        }
    }
}

/// The numbers of the requests in these bytes.
pub(super) fn ids(bytes: &[u8]) -> Vec<Id> {
    String::from_utf8_lossy(bytes).lines().filter_map(id_of).collect()
}

pub(super) async fn ask(to: SocketAddr, pause: Duration, ledger: &Ledger) {
    let mut kept = None;
    while let Some(id) = ledger.begin() {
        let outcome = patiently("HTTP", exchange(to, id, &mut kept)).await;
        if outcome.is_err() {
            kept = None;
        }
        note(ledger, id, outcome);
        sleep(pause).await;
    }
}

async fn exchange(to: SocketAddr, id: Id, kept: &mut Option<BufReader<TcpStream>>) -> Result<Place, String> {
    let failed = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => BufReader::new(TcpStream::connect(to).await.map_err(failed("connect"))?),
    };
    let _ = stream.get_ref().set_nodelay(true);
    let (method, body) = if id.is_multiple_of(2) { ("GET", &[][..]) } else { ("POST", &BODY[..]) };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} /{id} HTTP/1.1\r\nHost: web\r\n{length}\r\n");
    let request = [head.as_bytes(), body].concat();
    stream.write_all(&request).await.map_err(failed("write"))?;
    let head = read_head(&mut stream).await.map_err(failed("read"))?.ok_or("closed without an answer")?;
    let mut body = vec![0; head.length];
    stream.read_exact(&mut body).await.map_err(failed("read"))?;
    let body = String::from_utf8_lossy(&body);
    if !head.first_line.starts_with("HTTP/1.1 200 ") {
        return Err(format!("{method}: {} {}", head.first_line, body.trim()));
    }
    if !head.closes {
        *kept = Some(stream);
    }
    super::place_of(&body, id)
}

/// `None` where the stream ends before one begins.
async fn read_head(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let mut head = Head { first_line: String::new(), length: 0, closes: false };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await? == 0 {
            return if head.first_line.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(head));
        }
        let lower = line.to_ascii_lowercase();
        if head.first_line.is_empty() {
            line.clone_into(&mut head.first_line);
        } else if let Some(length) = lower.strip_prefix("content-length:") {
            head.length = length.trim().parse().map_err(io::Error::other)?;
        } else if lower == "connection: close" {
            head.closes = true;
        }
    }
}

/// The number in a request line.
fn id_of(line: &str) -> Option<Id> {
    line.split(' ').nth(1)?.strip_prefix('/')?.parse().ok()
}

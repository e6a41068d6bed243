//! Clients that take ten times as much as there is of something, beside those that go on as before.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use wasmesh_tests::{EndpointManifest, Service};

use crate::{ground::Ground, memory_limit::MemoryLimit, protocol::Protocol};

/// How long it lasts.
const WHILE: Duration = Duration::from_secs(3);

/// So many connections, and ten times as many that want one.
pub(crate) const CONNECTIONS: &[&str] = &["--max-connections=100"];
/// So many requests in flight.
pub(crate) const REQUESTS: &[&str] = &["--max-requests=100"];
const TENFOLD: usize = 1_000;
/// So many bytes of bodies that nobody reads: the windows of 32 streams. Ten times as many is what there is memory for, in bytes.
pub(crate) const BUFFERED: &[&str] = &["--max-buffered-bytes=8388608"];
const MEMORY: u64 = 80 << 20;
const STREAMS: u32 = 100;

/// A Service of which nothing is ever heard.
const SILENT: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 2);
const SILENT_POD: &str = "10.1.255.1:80";

pub(crate) fn connections(ground: &mut Ground<'_>, fault: &mut Instant) {
    let to = ground.address(Protocol::Http);
    let hogs: Vec<_> = (0..TENFOLD).filter_map(|_| TcpStream::connect(to).ok()).collect();
    ground.pass(WHILE);
    *fault = Instant::now();
    drop(hogs);
}

pub(crate) fn requests(ground: &mut Ground<'_>, fault: &mut Instant) {
    let pod: SocketAddr = SILENT_POD.parse().expect("an address");
    let listener = TcpListener::bind(pod).expect("a listener");
    // It accepts as long as the drill's process runs, and that is all.
    thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    let silent = Service::new("silent").vip(SILENT).endpoint(EndpointManifest::from(pod));
    ground.also(silent);
    ground.answers(200);
    let asks = |_| {
        let mut stream = TcpStream::connect((SILENT, 80)).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: silent\r\n\r\n").ok()?;
        Some(stream)
    };
    let asked: Vec<_> = (0..TENFOLD).filter_map(asks).collect();
    ground.pass(WHILE);
    *fault = Instant::now();
    drop(asked);
}

/// Heads of HTTP/1.1 that never end, and heads that come byte by byte.
pub(crate) fn heads(ground: &mut Ground<'_>, fault: &mut Instant) {
    let to = ground.address(Protocol::Http);
    let until = Instant::now() + WHILE;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(move || {
                while Instant::now() < until {
                    endless_lines(to, until);
                }
            });
        }
        let slow: Vec<_> = (0..TENFOLD / 2).filter_map(|_| TcpStream::connect(to).ok()).collect();
        for byte in b"GET / HTTP/1.1\r\nHost: slow\r\nX: ".iter().cycle().take_while(|_| Instant::now() < until) {
            // Those who are not listened to have been let go.
            slow.iter().for_each(|mut stream| _ = stream.write_all(&[*byte]));
        }
    });
    *fault = Instant::now();
    ground.answers(200);
}

/// Ten times as much as a head may have, or until nobody listens any more.
fn endless_lines(to: SocketAddr, until: Instant) {
    let Ok(mut stream) = TcpStream::connect(to) else { return };
    let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
    let line = [b"X-Flood: ", &[b'x'; 1_000][..], b"\r\n"].concat();
    let mut said = stream.write_all(b"GET / HTTP/1.1\r\nHost: flood\r\n");
    for _ in 0..640 {
        if said.is_err() || Instant::now() >= until {
            break;
        }
        said = stream.write_all(&line);
    }
}

/// Clients of HTTP/2 that ask for large answers, and leave no window for them or all there is and do not read: ten times what may be held
/// for such, and little memory beside.
pub(crate) fn unread_streams(ground: &mut Ground<'_>, fault: &mut Instant) {
    let limit = MemoryLimit::of(ground.proxy.id(), MEMORY);
    let to = ground.address(Protocol::Grpc);
    let asks = |number| {
        let mut stream = TcpStream::connect(to).ok()?;
        let settings = match number % 2 {
            0 => frame(SETTINGS, 0, 0, &window(0)),
            _ => [
                frame(SETTINGS, 0, 0, &window(LARGEST_WINDOW)),
                frame(WINDOW_UPDATE, 0, 0, &(LARGEST_WINDOW - FIRST_WINDOW).to_be_bytes()),
            ]
            .concat(),
        };
        let streams =
            (0..STREAMS).flat_map(|number| frame(HEADERS, END_STREAM | END_HEADERS, 2 * number + 1, &head("/large")));
        let said = [PREFACE, &settings].concat().into_iter().chain(streams).collect::<Vec<_>>();
        stream.write_all(&said).ok()?;
        Some(stream)
    };
    let lazy: Vec<_> = (0..10).filter_map(asks).collect();
    ground.pass(WHILE);
    *fault = Instant::now();
    drop(lazy);
    ground.answers(200);
    assert_eq!(limit.kills(), 0, "the proxy was killed for want of memory");
    ground.keep(limit);
}

/// Bytes that a client of HTTP/2 may say as often as it likes, and that cost whoever listens: streams that are opened and reset at
/// once (CVE-2023-44487), pings, settings, a head that never ends (CVE-2024-27316), streams of which nobody reads the answer.
pub(crate) fn http2(ground: &mut Ground<'_>, fault: &mut Instant) {
    let to = ground.address(Protocol::Grpc);
    let until = Instant::now() + WHILE;
    thread::scope(|scope| {
        for flood in [resets, pings, settings, endless_head, unread] {
            for _ in 0..4 {
                scope.spawn(move || {
                    while Instant::now() < until {
                        pour(to, flood, until);
                    }
                });
            }
        }
    });
    *fault = Instant::now();
    ground.answers(200);
}

/// What is said over and over, by the number of the turn.
type Flood = fn(u32) -> Vec<u8>;

/// Says it until it is over or nobody listens any more.
fn pour(to: SocketAddr, flood: Flood, until: Instant) {
    let Ok(mut stream) = TcpStream::connect(to) else { return };
    // Who is not listened to must not wait for ever.
    let _ = stream.set_write_timeout(Some(Duration::from_millis(200)));
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let mut said = stream.write_all(&begin);
    for turn in 0.. {
        if said.is_err() || Instant::now() >= until {
            break;
        }
        said = stream.write_all(&flood(turn));
    }
    let _ = stream.shutdown(Shutdown::Both);
    let _ = stream.read(&mut [0; 1024]);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// Kinds of frames and their flags (RFC 9113, section 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Of a connection, to begin with and at most (RFC 9113, section 6.9).
const FIRST_WINDOW: u32 = 65_535;
const LARGEST_WINDOW: u32 = i32::MAX.unsigned_abs();

/// How often a thing is said at once.
const AT_ONCE: u32 = 50;

fn resets(turn: u32) -> Vec<u8> {
    let one = |number: u32| {
        let stream = 2 * (turn * AT_ONCE + number) + 1;
        [
            frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("/flood")),
            frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
        ]
        .concat()
    };
    (0..AT_ONCE).flat_map(one).collect()
}

fn pings(_: u32) -> Vec<u8> {
    frame(PING, 0, 0, b"are you?").repeat(AT_ONCE as usize)
}

fn settings(_: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &window(0xffff)).repeat(AT_ONCE as usize)
}

/// SETTINGS_INITIAL_WINDOW_SIZE
fn window(bytes: u32) -> Vec<u8> {
    [&[0, 4][..], &bytes.to_be_bytes()].concat()
}

fn endless_head(turn: u32) -> Vec<u8> {
    let field = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat().repeat(10);
    match turn {
        0 => frame(HEADERS, END_STREAM, 1, &head("/flood")),
        _ => frame(CONTINUATION, 0, 1, &field),
    }
}

fn unread(turn: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 2 * turn + 1, &head("/flood"))
}

/// A request of gRPC, not compressed (RFC 7541, section 6.2.2). It has no number: nobody waits for its answer.
fn head(path: &str) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "flood"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

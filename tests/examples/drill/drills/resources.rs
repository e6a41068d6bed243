//! What a system runs out of, and a clock that nobody can rely on.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::policies;
use crate::{ground::Ground, memory_limit::MemoryLimit, protocol::Protocol};

/// How long it lasts.
const WHILE: Duration = Duration::from_secs(3);

/// How many files the proxy may have, and how many clients want one of them.
pub(crate) const FILES: u32 = 160;
const HOGS: usize = 10 * FILES as usize;

/// The proxy can open no more files: other clients hold what there was, and more.
pub(crate) fn no_files(ground: &mut Ground<'_>, fault: &mut Instant) {
    let hogs: Vec<_> = (0..HOGS).filter_map(|_| hog(ground.address(Protocol::Tcp))).collect();
    ground.pass(WHILE);
    *fault = Instant::now();
    drop(hogs);
}

/// Does not wait for anybody: where the backlog is full the kernel goes on asking.
fn hog(address: SocketAddr) -> Option<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).ok()?;
    socket.set_nonblocking(true).ok()?;
    let _under_way = socket.connect(&address.into());
    Some(socket)
}

/// What a careful platform gives a sidecar, in bytes.
const MEMORY: u64 = 64 << 20;
/// And what of that may be held for those who do not read.
pub(crate) const BUFFERED: &[&str] = &["--max-buffered-bytes=8388608"];
/// How many clients there are that ask for much and read nothing, and which of them have a body on its way: that goes another way through
/// the proxy, which costs more.
const LAZY: usize = 1_500;
const EVERY: usize = 10;

/// The proxy has little memory, and clients ask for large answers of which they read nothing.
pub(crate) fn little_memory(ground: &mut Ground<'_>, fault: &mut Instant) {
    let limit = MemoryLimit::of(ground.proxy.id(), MEMORY);
    let asks = |number: usize| {
        let ask = match number.is_multiple_of(EVERY) {
            true => "POST /large HTTP/1.1\r\nHost: web\r\nContent-Length: 1\r\n\r\n",
            false => "GET /large HTTP/1.1\r\nHost: web\r\n\r\n",
        };
        let mut stream = TcpStream::connect(ground.address(Protocol::Http)).ok()?;
        stream.write_all(ask.as_bytes()).ok()?;
        Some(stream)
    };
    let lazy: Vec<_> = (0..LAZY).filter_map(asks).collect();
    ground.pass(WHILE);
    *fault = Instant::now();
    drop(lazy);
    ground.answers(200);
    assert_eq!(limit.kills(), 0, "the proxy was killed for want of memory");
    ground.keep(limit);
}

/// The wall clock of the proxy leaps, forward and back.
pub(crate) fn clock_leaps(ground: &mut Ground<'_>, fault: &mut Instant) {
    for leap in ["+3600", "-86400", "+315360000", "+0"] {
        ground.places.set_clock(leap);
        *fault = Instant::now();
        ground.pass(Duration::from_secs(2));
    }
}

/// Where compiled modules are kept there is no room.
pub(crate) fn disk_full(ground: &mut Ground<'_>, fault: &mut Instant) {
    ground.places.fill_disk();
    *fault = Instant::now();
    policies::serve(ground, "rust/round-robin.wasm");
    policies::serve(ground, "rust/least-request.wasm");
}

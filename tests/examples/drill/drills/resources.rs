//! What a system runs out of, and a clock that nobody can rely on.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use super::policies;
use crate::{ground::Ground, protocol::Protocol};

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

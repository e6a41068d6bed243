//! What a worker holds of bytes over TCP and plain HTTP/1.1 that the other side does not take.
//!
//! A connection reads nothing more before it has written what it has read, so all of them hold no more than what they read at once. Where
//! many hold something, each reads less.

use std::cell::Cell;

/// What is read at once where there is no room: 16,384 connections hold 32 MiB of it.
const LITTLE: usize = 2 * 1024;

thread_local! {
    static ROOM: Cell<usize> = const { Cell::new(usize::MAX) };
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Bytes that wait to be written, until this is dropped.
pub(crate) struct Backlog(usize);

impl Backlog {
    /// So many.
    pub(crate) fn of(bytes: usize) -> Self {
        HELD.set(HELD.get() + bytes);
        Self(bytes)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        HELD.set(HELD.get() - self.0);
    }
}

/// How much this thread may hold before less is read.
pub(crate) fn set_room(bytes: usize) {
    ROOM.set(bytes);
}

/// How much to read at once where `wanted` would be best.
pub(crate) fn at_once(wanted: usize) -> usize {
    if HELD.get() > ROOM.get() { wanted.min(LITTLE) } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_read_while_much_is_held() {
        set_room(100);
        let held = [Backlog::of(60), Backlog::of(60)];
        assert_eq!((at_once(64 * 1024), at_once(100)), (LITTLE, 100));
        drop(held);
        assert_eq!(at_once(64 * 1024), 64 * 1024);
    }
}

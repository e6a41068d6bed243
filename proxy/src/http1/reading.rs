//! Reads into memory that all connections of a worker share, so that those on which nothing comes need none of their own.

use std::{
    cell::RefCell,
    future::{Future as _, poll_fn},
    io,
    mem::MaybeUninit,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::backlog::at_once;

/// What is read at once, at most. Nearly all heads, and answers of a few KiB with theirs, come in one piece.
const SHARED_BYTES: usize = 16 * 1024;

/// What is read at once of bodies that come faster than in such pieces.
const BULK_BYTES: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[MaybeUninit<u8>]>> = RefCell::new(Box::new_uninit_slice(SHARED_BYTES));
}

/// Appends what has come; 0 at the end. Nothing is reserved beforehand.
pub(super) async fn read<IO: AsyncRead + Unpin>(io: &mut IO, into: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| poll_read(io, into, cx)).await
}

fn poll_read<IO: AsyncRead + Unpin>(io: &mut IO, into: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    SHARED.with_borrow_mut(|shared| {
        let mut shared = ReadBuf::uninit(&mut shared[..at_once(SHARED_BYTES)]);
        ready!(Pin::new(io).poll_read(cx, &mut shared))?;
        into.extend_from_slice(shared.filled());
        Poll::Ready(Ok(shared.filled().len()))
    })
}

/// Replaces what was read before. Bodies that keep filling the shared memory get some of their own, and are not copied; while nothing
/// comes they have none.
pub(super) async fn read_on<IO: AsyncRead + Unpin>(io: &mut IO, instead: &mut Vec<u8>) -> io::Result<usize> {
    let is_bulk = instead.len() >= SHARED_BYTES;
    instead.clear();
    poll_fn(|cx| {
        let read = if is_bulk && at_once(BULK_BYTES) == BULK_BYTES {
            instead.reserve(BULK_BYTES);
            pin!(io.read_buf(instead)).poll(cx)
        } else {
            poll_read(io, instead, cx)
        };
        if read.is_pending() {
            *instead = Vec::new();
        }
        read
    })
    .await
}

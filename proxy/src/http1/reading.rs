//! Reads into memory that all connections of a worker share, so that those on which nothing comes need none of their own.

use std::{cell::RefCell, future::poll_fn, io, mem::MaybeUninit, pin::Pin, task::Poll};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// What is read at once, at most. Nearly all heads, and answers of a few KiB with theirs, come in one piece.
const SHARED_BYTES: usize = 16 * 1024;

/// What is read at once of bodies that come faster than in such pieces.
const BULK_BYTES: usize = 64 * 1024;

thread_local! {
    static SHARED: RefCell<Box<[MaybeUninit<u8>]>> = RefCell::new(Box::new_uninit_slice(SHARED_BYTES));
}

/// Appends what has come; 0 at the end. Nothing is reserved beforehand.
pub(super) async fn read<IO: AsyncRead + Unpin>(io: &mut IO, into: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        SHARED.with_borrow_mut(|shared| {
            let mut shared = ReadBuf::uninit(shared);
            let read = Pin::new(&mut *io).poll_read(cx, &mut shared);
            if let Poll::Ready(Ok(())) = read {
                into.extend_from_slice(shared.filled());
            }
            read.map_ok(|()| shared.filled().len())
        })
    })
    .await
}

/// Replaces what was read before. Bodies that keep filling the shared memory get some of their own, and are not copied.
pub(super) async fn read_on<IO: AsyncRead + Unpin>(io: &mut IO, instead: &mut Vec<u8>) -> io::Result<usize> {
    let is_bulk = instead.len() >= SHARED_BYTES;
    instead.clear();
    if is_bulk {
        instead.reserve(BULK_BYTES);
        return io.read_buf(instead).await;
    }
    read(io, instead).await
}

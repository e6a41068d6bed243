//! The floor: a relay that knows nothing. What any proxy needs more than this is what its knowledge costs.
//!
//! Per direction and message it waits once, reads once and writes once. Both ends of a connection may be closed
//! separately. Bytes that a peer does not take at once are kept, and nothing more is read for it until they are gone.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context, Result};

use crate::{
    poll::{Interest, Poll, Ready},
    slots::Slots,
};

const LISTENER: u64 = u64::MAX;

struct Relay {
    poll: Poll,
    pairs: Slots<Pair>,
    scratch: Box<[u8]>,
    to: Vec<SocketAddr>,
    accepted: usize,
}

/// The accepted connection and ours.
struct Pair([End; 2]);

struct End {
    stream: TcpStream,
    interest: Interest,
    /// What its peer has sent and it has not taken yet.
    unsent: Vec<u8>,
    /// It will send nothing more.
    ended: bool,
}

/// Runs until it is ended.
pub(crate) fn run(listen: SocketAddr, to: Vec<SocketAddr>) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    listener.set_nonblocking(true)?;
    let mut relay = Relay {
        poll: Poll::new()?,
        pairs: Slots::default(),
        scratch: vec![0; 64 * 1024].into_boxed_slice(),
        to,
        accepted: 0,
    };
    relay.poll.add(&listener, LISTENER, Interest::READ)?;
    let mut ready = Vec::new();
    loop {
        relay.poll.wait(&mut ready, None)?;
        for event in &ready {
            match event.key {
                LISTENER => relay.accept(&listener),
                _ => relay.serve(*event),
            }
        }
    }
}

impl Relay {
    /// A failure here is the client's to see: its connection closes.
    fn accept(&mut self, listener: &TcpListener) {
        let Ok((client, _)) = listener.accept() else { return };
        let to = self.to[self.accepted % self.to.len()];
        self.accepted += 1;
        // The kernel completes a connection on the loopback without the other process: this does not wait for anybody.
        let Ok(pair) = TcpStream::connect(to).and_then(|server| Ok(Pair([End::new(client)?, End::new(server)?])))
        else {
            return;
        };
        let place = self.pairs.insert(pair);
        let Some(Pair(ends)) = self.pairs.get_mut(place) else { return };
        let added = ends
            .iter()
            .enumerate()
            .try_for_each(|(side, end)| self.poll.add(&end.stream, key(place, side), end.interest));
        if added.is_err() {
            self.pairs.remove(place);
        }
    }

    fn serve(&mut self, event: Ready) {
        let (place, side) = (event.key as usize / 2, event.key as usize % 2);
        let Some(pair) = self.pairs.get_mut(place) else { return };
        let served = pair.serve(side, event, &mut self.scratch).and_then(|()| pair.watch(&self.poll, place));
        if served.is_err() || pair.is_over() {
            self.pairs.remove(place);
        }
    }
}

impl Pair {
    fn serve(&mut self, side: usize, event: Ready, scratch: &mut [u8]) -> io::Result<()> {
        let [first, second] = &mut self.0;
        let (this, other) = if side == 0 { (first, second) } else { (second, first) };
        if event.write && !this.unsent.is_empty() {
            this.flush(other.ended)?;
        }
        if event.broken && this.ended {
            return Err(ErrorKind::ConnectionReset.into());
        }
        if event.read && !this.ended && other.unsent.is_empty() {
            match this.stream.read(scratch) {
                Ok(0) => {
                    this.ended = true;
                    other.stream.shutdown(Shutdown::Write)?;
                }
                Ok(length) => other.send(&scratch[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the kernel what is of interest now, if that has changed.
    fn watch(&mut self, poll: &Poll, place: usize) -> io::Result<()> {
        for side in 0..2 {
            let wanted = Interest {
                read: !self.0[side].ended && self.0[1 - side].unsent.is_empty(),
                write: !self.0[side].unsent.is_empty(),
            };
            let end = &mut self.0[side];
            if end.interest != wanted {
                poll.change(&end.stream, key(place, side), wanted)?;
                end.interest = wanted;
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.0.iter().all(|end| end.ended && end.unsent.is_empty())
    }
}

impl End {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, interest: Interest::READ, unsent: Vec::new(), ended: false })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = write_some(&self.stream, bytes)?;
        self.unsent.extend_from_slice(&bytes[sent..]);
        Ok(())
    }

    fn flush(&mut self, last: bool) -> io::Result<()> {
        let sent = write_some(&self.stream, &self.unsent)?;
        self.unsent.drain(..sent);
        if last && self.unsent.is_empty() {
            self.stream.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }
}

/// How much the kernel took; not being able to take anything is no error.
pub(crate) fn write_some(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        outcome => outcome,
    }
}

fn key(place: usize, side: usize) -> u64 {
    (place * 2 + side) as u64
}

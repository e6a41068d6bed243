//! A TCP backend. A message begins with its own length, four bytes, big-endian, these included; it is sent back as it
//! comes, with its first byte replaced by our name, so that the client sees who answered.

use std::{
    io::{self, ErrorKind, Read},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context, Result};

use crate::{
    copy::write_some,
    poll::{Interest, Poll, Ready},
    slots::Slots,
};

const LISTENER: u64 = u64::MAX;
const LENGTH: usize = 4;

struct Client {
    stream: TcpStream,
    interest: Interest,
    marker: Marker,
    unsent: Vec<u8>,
}

/// Finds where messages begin.
struct Marker {
    name: u8,
    /// What is left of the current message.
    left: usize,
    /// The begin of a length.
    head: Vec<u8>,
}

/// Runs until it is ended.
pub(crate) fn run(listen: SocketAddr, name: u8) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(&listener, LISTENER, Interest::READ)?;
    let mut clients = Slots::default();
    let mut scratch = vec![0; 64 * 1024];
    let mut ready = Vec::new();
    loop {
        poll.wait(&mut ready, None)?;
        for event in &ready {
            if event.key == LISTENER {
                accept(&listener, name, &poll, &mut clients);
                continue;
            }
            let place = event.key as usize;
            let Some(client) = clients.get_mut(place) else { continue };
            if client.serve(*event, &mut scratch, &poll).is_err() {
                clients.remove(place);
            }
        }
    }
}

fn accept(listener: &TcpListener, name: u8, poll: &Poll, clients: &mut Slots<Client>) {
    let Ok((stream, _)) = listener.accept() else { return };
    if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_err() {
        return;
    }
    let marker = Marker { name, left: 0, head: Vec::new() };
    let place = clients.insert(Client { stream, interest: Interest::READ, marker, unsent: Vec::new() });
    let added = clients.get_mut(place).map(|client| poll.add(&client.stream, place as u64, client.interest));
    if !matches!(added, Some(Ok(()))) {
        clients.remove(place);
    }
}

impl Client {
    /// An error is also the end.
    fn serve(&mut self, event: Ready, scratch: &mut [u8], poll: &Poll) -> io::Result<()> {
        if event.write {
            let sent = write_some(&self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
        }
        if event.read && self.unsent.is_empty() {
            match self.stream.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.answer(&mut scratch[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        let wanted = Interest { read: self.unsent.is_empty(), write: !self.unsent.is_empty() };
        if self.interest != wanted {
            poll.change(&self.stream, event.key, wanted)?;
            self.interest = wanted;
        }
        Ok(())
    }

    fn answer(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        // Almost always the length comes whole, and the bytes go back without being copied.
        if self.marker.head.is_empty() && self.marker.mark(bytes)? {
            let sent = write_some(&self.stream, bytes)?;
            self.unsent.extend_from_slice(&bytes[sent..]);
            return Ok(());
        }
        self.marker.head.extend_from_slice(bytes);
        let mut whole = std::mem::take(&mut self.marker.head);
        if self.marker.mark(&mut whole)? {
            self.unsent = whole;
            let sent = write_some(&self.stream, &self.unsent)?;
            self.unsent.drain(..sent);
        } else {
            self.marker.head = whole;
        }
        Ok(())
    }
}

impl Marker {
    /// Replaces the first byte of every message; false, and nothing done, if a length is cut.
    fn mark(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        let mut starts = Vec::new();
        let (mut at, mut left) = (0, self.left);
        while at < bytes.len() {
            if left == 0 {
                let Some(length) = bytes[at..].first_chunk::<LENGTH>() else { return Ok(false) };
                left = u32::from_be_bytes(*length) as usize;
                if left < LENGTH {
                    return Err(ErrorKind::InvalidData.into());
                }
                starts.push(at);
            }
            let step = left.min(bytes.len() - at);
            (at, left) = (at + step, left - step);
        }
        starts.into_iter().for_each(|start| bytes[start] = self.name);
        self.left = left;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::Marker;

    #[test]
    fn the_first_byte_of_each_message_is_replaced() {
        let mut marker = Marker { name: b'7', left: 2, head: Vec::new() };
        let mut bytes = *b"..\0\0\0\x05x\0\0\0\x06";
        assert!(marker.mark(&mut bytes).unwrap());
        assert_eq!((&bytes, marker.left), (b"..7\0\0\x05x7\0\0\x06", 2));
    }

    #[test]
    fn a_cut_length_is_waited_for_and_one_below_four_is_refused() {
        let mut marker = Marker { name: b'7', left: 0, head: Vec::new() };
        assert!(!marker.mark(&mut [0, 0, 0]).unwrap());
        assert!(marker.mark(&mut [0, 0, 0, 3]).is_err());
    }
}

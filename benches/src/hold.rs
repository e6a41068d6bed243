//! An HTTP/1.1 backend that keeps whoever asks for `/hold` waiting until somebody asks for `/release`, so that many requests are
//! under way at once and nothing moves. Everything else it answers at once, `/held` with the number of those that wait.

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
const MAX_HEAD: usize = 16 * 1024;

struct Client {
    stream: TcpStream,
    head: Vec<u8>,
}

struct Server {
    poll: Poll,
    clients: Slots<Client>,
    held: Vec<usize>,
    answer: Vec<u8>,
}

/// Runs until it is ended.
pub(crate) fn run(listen: SocketAddr, name: u8) -> Result<()> {
    let listener = TcpListener::bind(listen).with_context(|| format!("cannot listen on {listen}"))?;
    listener.set_nonblocking(true)?;
    let mut body = vec![b'x'; 1024];
    body[0] = name;
    let mut server =
        Server { poll: Poll::new()?, clients: Slots::default(), held: Vec::new(), answer: response(&body) };
    server.poll.add(&listener, LISTENER, Interest::READ)?;
    let mut ready = Vec::new();
    loop {
        server.poll.wait(&mut ready, None)?;
        for event in &ready {
            if event.key == LISTENER {
                server.accept(&listener);
            } else if server.serve(*event).is_err() {
                let place = event.key as usize;
                server.held.retain(|held| *held != place);
                server.clients.remove(place);
            }
        }
    }
}

impl Server {
    fn accept(&mut self, listener: &TcpListener) {
        let Ok((stream, _)) = listener.accept() else { return };
        if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_err() {
            return;
        }
        let place = self.clients.insert(Client { stream, head: Vec::new() });
        let added =
            self.clients.get_mut(place).map(|client| self.poll.add(&client.stream, place as u64, Interest::READ));
        if !matches!(added, Some(Ok(()))) {
            self.clients.remove(place);
        }
    }

    /// An error is also the end.
    fn serve(&mut self, event: Ready) -> io::Result<()> {
        let place = event.key as usize;
        let Some(client) = self.clients.get_mut(place) else { return Ok(()) };
        let mut scratch = [0; 4096];
        match client.stream.read(&mut scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(length) => client.head.extend_from_slice(&scratch[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
        if client.head.len() > MAX_HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
        if !client.head.ends_with(b"\r\n\r\n") {
            return Ok(());
        }
        let head = std::mem::take(&mut client.head);
        match head.split(|byte| *byte == b' ').nth(1) {
            Some(b"/hold") => self.held.push(place),
            Some(b"/held") => {
                let held = response(self.held.len().to_string().as_bytes());
                send(&client.stream, &held)?;
            }
            path => {
                send(&client.stream, &self.answer)?;
                if path == Some(b"/release") {
                    self.release();
                }
            }
        }
        Ok(())
    }

    fn release(&mut self) {
        for place in std::mem::take(&mut self.held) {
            if self.clients.get_mut(place).is_some_and(|client| send(&client.stream, &self.answer).is_err()) {
                self.clients.remove(place);
            }
        }
    }
}

/// An answer is short, and whoever gets it has nothing else to read.
fn send(stream: &TcpStream, answer: &[u8]) -> io::Result<()> {
    let sent = write_some(stream, answer)?;
    if sent == answer.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

fn response(body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

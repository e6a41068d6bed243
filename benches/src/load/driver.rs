//! Connections with one exchange under way on each.

use std::{
    io::{self, ErrorKind, Read},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    answer::{Answer, Shape},
    tally::Tally,
};
use crate::{
    copy::write_some,
    poll::{Interest, Poll, Ready},
};

/// Nobody needs as long as this for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After so many errors there is nothing left to measure.
const MAX_ERRORS: u64 = 100;

/// What an exchange is.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) request: Vec<u8>,
    pub(super) answer: Shape,
    /// Each exchange on a connection of its own, closed after it.
    pub(super) fresh: bool,
}

pub(super) struct Driver {
    script: Script,
    poll: Poll,
    lanes: Vec<Lane>,
    scratch: Box<[u8]>,
}

/// One exchange at a time.
struct Lane {
    to: SocketAddr,
    stream: Option<TcpStream>,
    answer: Answer,
    sent: usize,
    since: Instant,
    under_way: bool,
}

impl Driver {
    pub(super) fn new(script: Script, to: &[SocketAddr], lanes: usize) -> Result<Self> {
        let lanes = to.iter().cycle().take(lanes).map(|to| Lane::new(*to, script.answer)).collect();
        Ok(Self { script, poll: Poll::new()?, lanes, scratch: vec![0; 64 * 1024].into_boxed_slice() })
    }

    /// Begins exchanges for so long, and waits for the last one's end.
    pub(super) fn run(&mut self, time: Duration) -> Result<Tally> {
        let mut tally = Tally::with_room();
        let mut ready = Vec::new();
        let start = Instant::now();
        let end = start + time;
        for place in 0..self.lanes.len() {
            self.begin(place, &mut tally);
        }
        while self.lanes.iter().any(|lane| lane.under_way) {
            self.poll.wait(&mut ready, Some(PATIENCE))?;
            if ready.is_empty() {
                self.give_up(&mut tally);
            }
            for event in &ready {
                self.serve(*event, end, &mut tally);
            }
            if tally.errors() > MAX_ERRORS {
                bail!("too many errors, the first: {}", tally.report()["first_error"]);
            }
        }
        tally.took = start.elapsed();
        Ok(tally)
    }

    fn begin(&mut self, place: usize, tally: &mut Tally) {
        if let Err(error) = self.lanes[place].begin(&self.script, &self.poll, place as u64) {
            self.lanes[place].fail(tally, error.to_string());
        }
    }

    fn serve(&mut self, event: Ready, end: Instant, tally: &mut Tally) {
        let place = event.key as usize;
        let lane = &mut self.lanes[place];
        if !lane.under_way {
            // Closed while nothing was asked on it, which any server may do: the next exchange opens another.
            lane.stream = None;
            return;
        }
        match lane.proceed(event, &self.script, &self.poll, &mut self.scratch) {
            Ok(None) => return,
            Ok(Some(backend)) => {
                tally.done(backend, lane.since.elapsed());
                lane.under_way = false;
                if self.script.fresh {
                    lane.stream = None;
                }
            }
            Err(error) => lane.fail(tally, error),
        }
        if Instant::now() < end && tally.errors() <= MAX_ERRORS {
            self.begin(place, tally);
        }
    }

    fn give_up(&mut self, tally: &mut Tally) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.under_way) {
            lane.fail(tally, format!("no answer within {PATIENCE:?}"));
        }
    }
}

impl Lane {
    fn new(to: SocketAddr, shape: Shape) -> Self {
        Self { to, stream: None, answer: Answer::new(shape), sent: 0, since: Instant::now(), under_way: false }
    }

    fn begin(&mut self, script: &Script, poll: &Poll, key: u64) -> io::Result<()> {
        self.answer.reset();
        self.under_way = true;
        self.since = Instant::now();
        let mut watched = true;
        if self.stream.is_none() {
            let stream = TcpStream::connect_timeout(&self.to, PATIENCE)?;
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
            watched = false;
        }
        let Some(stream) = &self.stream else { return Ok(()) };
        self.sent = write_some(stream, &script.request)?;
        let cut = self.sent < script.request.len();
        match (watched, cut) {
            (false, _) => poll.add(stream, key, Interest { read: true, write: cut }),
            (true, true) => poll.change(stream, key, Interest { read: true, write: true }),
            (true, false) => Ok(()),
        }
    }

    /// Who has answered, once the answer is complete.
    fn proceed(
        &mut self,
        event: Ready,
        script: &Script,
        poll: &Poll,
        scratch: &mut [u8],
    ) -> Result<Option<u8>, String> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        if event.write && self.sent < script.request.len() {
            self.sent += write_some(stream, &script.request[self.sent..]).map_err(|error| error.to_string())?;
            if self.sent == script.request.len() {
                poll.change(&*stream, event.key, Interest::READ).map_err(|error| error.to_string())?;
            }
        }
        if !event.read {
            return Ok(None);
        }
        match stream.read(scratch) {
            Ok(0) => Err("closed before the answer was complete".to_owned()),
            Ok(length) => self.answer.feed(&scratch[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    fn fail(&mut self, tally: &mut Tally, error: String) {
        tally.failed(error);
        self.under_way = false;
        self.stream = None;
    }
}

//! Connections with one exchange under way on each.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    answer::{Answer, Shape},
    schedule::{Pace, Schedule},
    tally::Tally,
};
use crate::{
    copy::write_some,
    poll::{Interest, Poll, Ready},
};

/// Nobody needs as long as this for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the clock of an open loop is known by.
const CLOCK: u64 = u64::MAX;
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
    pub(super) fn run(&mut self, time: Duration, pace: Pace) -> Result<Tally> {
        let mut tally = Tally::with_room();
        let mut ready = Vec::new();
        let mut free: VecDeque<_> = (0..self.lanes.len()).collect();
        let mut clock = match pace {
            Pace::Closed => None,
            Pace::Open(rate) => Some(self.poll.add_clock(CLOCK, Duration::from_secs_f64(1.0 / rate))?),
        };
        let start = Instant::now();
        let mut schedule = Schedule::new(start, time, pace);
        loop {
            while let Some(place) = free.front().copied() {
                let Some(since) = schedule.next(Instant::now()) else { break };
                if self.begin(place, since, &mut tally) {
                    free.pop_front();
                } else if tally.errors() > MAX_ERRORS {
                    break;
                }
            }
            if tally.errors() > MAX_ERRORS {
                bail!("too many errors, the first: {}", tally.report()["first_error"]);
            }
            if schedule.has_ended(Instant::now()) {
                if free.len() == self.lanes.len() {
                    break;
                }
                clock = None;
            }
            self.poll.wait(&mut ready, Some(PATIENCE))?;
            if ready.is_empty() {
                free.extend(self.give_up(&mut tally));
            }
            if let Some(clock) = clock.as_ref().filter(|_| ready.iter().any(|event| event.key == CLOCK)) {
                clock.heard();
            }
            free.extend(ready.iter().filter_map(|event| self.serve(*event, &mut tally)));
        }
        tally.took = start.elapsed();
        Ok(tally)
    }

    /// Says whether it could.
    fn begin(&mut self, place: usize, since: Instant, tally: &mut Tally) -> bool {
        let begun = self.lanes[place].begin(&self.script, &self.poll, place as u64, since);
        begun.map_err(|error| self.lanes[place].fail(tally, error.to_string())).is_ok()
    }

    /// The place that is free for the next exchange now.
    fn serve(&mut self, event: Ready, tally: &mut Tally) -> Option<usize> {
        if event.key == CLOCK {
            return None;
        }
        let place = event.key as usize;
        let lane = &mut self.lanes[place];
        if !lane.under_way {
            // Closed while nothing was asked on it, which any server may do: the next exchange opens another.
            lane.stream = None;
            return None;
        }
        match lane.proceed(event, &self.script, &self.poll, &mut self.scratch) {
            Ok(None) => return None,
            Ok(Some(backend)) => {
                tally.done(backend, lane.since.elapsed());
                lane.under_way = false;
                if self.script.fresh {
                    lane.stream = None;
                }
            }
            Err(error) => lane.fail(tally, error),
        }
        Some(place)
    }

    /// The places that nothing has come for.
    fn give_up(&mut self, tally: &mut Tally) -> Vec<usize> {
        let waiting = self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.under_way);
        let given_up = waiting.map(|(place, lane)| {
            lane.fail(tally, format!("no answer within {PATIENCE:?}"));
            place
        });
        given_up.collect()
    }
}

impl Lane {
    fn new(to: SocketAddr, shape: Shape) -> Self {
        Self { to, stream: None, answer: Answer::new(shape), sent: 0, since: Instant::now(), under_way: false }
    }

    fn begin(&mut self, script: &Script, poll: &Poll, key: u64, since: Instant) -> io::Result<()> {
        self.answer.reset();
        self.under_way = true;
        self.since = since;
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

//! When exchanges begin. Pure.

use std::time::{Duration, Instant};

/// What an exchange waits for before it begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// For the end of the one before it on its connection.
    Closed,
    /// For its moment: so many begin in a second, at equal distances, however the others fare.
    Open(f64),
}

/// The moments of one run.
#[derive(Debug)]
pub(super) struct Schedule {
    start: Instant,
    time: Duration,
    pace: Pace,
    /// How many have had their moment.
    begun: u32,
}

impl Schedule {
    pub(super) fn new(start: Instant, time: Duration, pace: Pace) -> Self {
        Self { start, time, pace, begun: 0 }
    }

    /// The moment of the next exchange, if it has come. An exchange whose moment found no free connection has waited
    /// since: that wait is part of what the client sees, and leaving it out is called coordinated omission.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let at = match self.pace {
            Pace::Closed => now,
            Pace::Open(rate) => self.start + Duration::from_secs_f64(f64::from(self.begun) / rate),
        };
        (at <= now && at < self.start + self.time).then(|| {
            self.begun += 1;
            at
        })
    }

    /// Nothing begins any more.
    pub(super) fn has_ended(&self, now: Instant) -> bool {
        match self.pace {
            Pace::Closed => now >= self.start + self.time,
            Pace::Open(rate) => f64::from(self.begun) / rate >= self.time.as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Pace, Schedule};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_closed_loop_begins_whenever_it_may() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, SECOND, Pace::Closed);
        let later = start + SECOND / 2;
        assert_eq!((schedule.next(later), schedule.next(later)), (Some(later), Some(later)));
        assert!(!schedule.has_ended(later) && schedule.has_ended(start + SECOND));
        assert_eq!(schedule.next(start + SECOND), None);
    }

    #[test]
    fn an_open_loop_forgets_no_moment_that_it_has_missed() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, SECOND, Pace::Open(4.0));
        assert_eq!((schedule.next(start), schedule.next(start)), (Some(start), None));
        let late = start + 10 * SECOND;
        let missed: Vec<_> = std::iter::from_fn(|| schedule.next(late)).collect();
        assert_eq!(missed, [start + SECOND / 4, start + SECOND / 2, start + 3 * SECOND / 4]);
        assert!(schedule.has_ended(late));
    }
}

//! How fast something may happen at most. Pure.
//!
//! After a restart every proxy of the cluster comes back within seconds, and each first update costs a walk over all
//! Services. A bounded rate keeps those who are already in served; the others wait their turn, which costs them nothing,
//! because a proxy without a stream goes on with what it has. And what strangers can cause, questions to the API server, events
//! and lines in the log, must not be more than everyone else can bear.

use std::time::Duration;

/// A token bucket that hands out waiting times. Time is passed in, as the time since some fixed moment.
pub(crate) struct Pace {
    interval: Duration,
    burst: Duration,
    /// When the bucket would be full if nobody came any more, never before `now`.
    full_at: Duration,
}

impl Pace {
    /// Allows `per_second` a second on average and `burst` at once; both at least 1.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst.max(1), full_at: Duration::ZERO }
    }

    /// How long the next one has to wait, or `None` if that would be longer than `patience`.
    pub(crate) fn admit(&mut self, now: Duration, patience: Duration) -> Option<Duration> {
        let full_at = self.full_at.max(now) + self.interval;
        let wait = full_at.saturating_sub(now + self.burst);
        if wait > patience {
            return None;
        }
        self.full_at = full_at;
        Some(wait)
    }

    /// Whether the next one may happen now.
    pub(crate) fn allows(&mut self, now: Duration) -> bool {
        self.admit(now, Duration::ZERO).is_some()
    }

    /// Whether all of the burst is there, as if nothing had ever happened.
    pub(crate) fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_enters_at_once_and_the_rest_at_the_rate() {
        let mut pace = Pace::new(10, 3);
        let waits: Vec<_> = (0..5).map(|_| pace.admit(Duration::ZERO, PATIENCE).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }

    #[test]
    fn whoever_would_wait_too_long_is_sent_away_and_costs_nothing() {
        let mut pace = Pace::new(10, 1);
        let let_in = (0..100).filter(|_| pace.admit(Duration::ZERO, PATIENCE).is_some()).count();
        assert_eq!(let_in, 11);
        assert_eq!(pace.admit(Duration::from_secs(2), PATIENCE), Some(Duration::ZERO));
    }
}

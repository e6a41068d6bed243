//! How fast new streams are let in.
//!
//! After a restart every proxy of the cluster comes back within seconds, and each first update costs a walk over all
//! Services. A bounded rate keeps those who are already in served; the others wait their turn, which costs them nothing,
//! because a proxy without a stream goes on with what it has.

use std::time::Duration;

/// A token bucket that hands out waiting times. Time is passed in, as the time since some fixed moment.
pub(super) struct Admission {
    interval: Duration,
    burst: Duration,
    /// When the bucket would be full if nobody came any more, never before `now`.
    full_at: Duration,
}

impl Admission {
    /// Lets in `per_second` streams a second on average and `burst` at once; both at least 1.
    pub(super) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst.max(1), full_at: Duration::ZERO }
    }

    /// How long the next stream has to wait, or `None` if that would be longer than `patience`.
    pub(super) fn admit(&mut self, now: Duration, patience: Duration) -> Option<Duration> {
        let full_at = self.full_at.max(now) + self.interval;
        let wait = full_at.saturating_sub(now + self.burst);
        if wait > patience {
            return None;
        }
        self.full_at = full_at;
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::Admission;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_enters_at_once_and_the_rest_at_the_rate() {
        let mut admission = Admission::new(10, 3);
        let waits: Vec<_> = (0..5).map(|_| admission.admit(Duration::ZERO, PATIENCE).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 100, 200]);
    }

    #[test]
    fn whoever_would_wait_too_long_is_sent_away_and_costs_nothing() {
        let mut admission = Admission::new(10, 1);
        let let_in = (0..100).filter(|_| admission.admit(Duration::ZERO, PATIENCE).is_some()).count();
        assert_eq!(let_in, 11);
        assert_eq!(admission.admit(Duration::from_secs(2), PATIENCE), Some(Duration::ZERO));
    }
}

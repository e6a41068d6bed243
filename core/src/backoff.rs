//! Exponential backoff with jitter: how long to wait before trying again what has failed.
//!
//! Pure: the random numbers are the caller's, and so is the waiting. Jitter is not optional, since a thousand sidecars
//! that lost the same control plane at the same moment must not come back at the same moment (Brooker, "Exponential
//! Backoff And Jitter", AWS Architecture Blog, 2015, from which both kinds of jitter are).

use std::time::Duration;

/// How much of each pause is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// All of it: from nothing to the whole pause. Spreads a crowd best.
    Full,
    /// Half of it: at least half of the pause is always waited.
    Equal,
}

/// A sequence of growing pauses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    jitter: Jitter,
    /// The next pause before jitter, between `first` and `max`.
    ceiling: Duration,
}

/// Why a backoff makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// Doubling nothing stays nothing: it would retry without a pause for ever.
    #[error("the first pause of a backoff must be longer than zero")]
    Zero,
    /// The limit is below the start.
    #[error("the first pause of a backoff, {first:?}, is longer than its longest, {max:?}")]
    FirstExceedsMax {
        /// The first pause.
        first: Duration,
        /// The longest one.
        max: Duration,
    },
}

impl Backoff {
    /// Pauses of up to `first`, then up to twice as long each time, up to `max`.
    ///
    /// # Errors
    /// When `first` is zero or longer than `max`.
    pub fn new(first: Duration, max: Duration, jitter: Jitter) -> Result<Self, InvalidBackoff> {
        if first.is_zero() {
            return Err(InvalidBackoff::Zero);
        }
        if first > max {
            return Err(InvalidBackoff::FirstExceedsMax { first, max });
        }
        Ok(Self { first, max, jitter, ceiling: first })
    }

    /// How long to wait now; `random` is 64 fresh random bits.
    pub fn next(&mut self, random: u64) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.max);
        match self.jitter {
            Jitter::Full => up_to(ceiling, random),
            Jitter::Equal => {
                let chance = up_to(ceiling / 2, random);
                ceiling - ceiling / 2 + chance
            }
        }
    }

    /// Starts again with the first pause. Call it when an attempt has held for a while, not when it has merely begun:
    /// a peer that accepts and hangs up at once has not recovered.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

/// A duration from zero to `limit`, both included. Limits beyond 584 years count as 584 years.
fn up_to(limit: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let chosen = (u128::from(random) * (u128::from(nanos) + 1)) >> 64;
    Duration::from_nanos(chosen as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(1);

    fn pauses(jitter: Jitter, random: u64) -> Vec<u128> {
        let mut backoff = Backoff::new(FIRST, MAX, jitter).unwrap();
        (0..6).map(|_| backoff.next(random).as_millis()).collect()
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(pauses(Jitter::Full, u64::MAX), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pauses(Jitter::Equal, u64::MAX), [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn jitter_takes_all_or_half_of_a_pause() {
        assert_eq!(pauses(Jitter::Full, 0), [0, 0, 0, 0, 0, 0]);
        assert_eq!(pauses(Jitter::Equal, 0), [50, 100, 200, 400, 500, 500]);
        assert_eq!(pauses(Jitter::Full, 1 << 63), [50, 100, 200, 400, 500, 500]);
        assert_eq!(pauses(Jitter::Equal, 1 << 63), [75, 150, 300, 600, 750, 750]);
    }

    #[test]
    fn reset_starts_again() {
        let mut backoff = Backoff::new(FIRST, MAX, Jitter::Full).unwrap();
        let fresh = backoff.clone();
        backoff.next(0);
        backoff.next(0);
        assert_ne!(backoff, fresh);
        backoff.reset();
        assert_eq!(backoff, fresh);
    }

    #[test]
    fn nonsense_is_an_error() {
        assert_eq!(Backoff::new(Duration::ZERO, MAX, Jitter::Full), Err(InvalidBackoff::Zero));
        let inverted = Backoff::new(MAX, FIRST, Jitter::Full).unwrap_err();
        assert_eq!(inverted, InvalidBackoff::FirstExceedsMax { first: MAX, max: FIRST });
        assert!(Backoff::new(FIRST, FIRST, Jitter::Equal).is_ok());
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        for jitter in [Jitter::Full, Jitter::Equal] {
            let mut backoff = Backoff::new(Duration::from_nanos(1), Duration::MAX, jitter).unwrap();
            for _ in 0..200 {
                backoff.next(u64::MAX);
            }
            assert!(backoff.next(u64::MAX) >= Duration::from_nanos(u64::MAX));
        }
    }
}

//! Passive ejection: an endpoint that keeps failing gets no traffic for a while.
//!
//! No probes are sent; the requests themselves tell. A pause ends by itself, and the first request after it decides
//! whether another, longer one follows. All numbers are shared by the workers and lock-free; times are microseconds of
//! any monotonic clock, the same one for all callers.
//!
//! The idea is that of Envoy's outlier detection (consecutive gateway failures) and of Finagle's failure accrual.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// When an endpoint is ejected, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EjectionRule {
    /// So many failures in a row eject, and so does more than one failure in five requests for long enough; 0 means never.
    pub failures: u32,
    /// The first pause.
    pub first_pause_us: u64,
    /// Each pause is twice as long as the one before, up to this.
    pub max_pause_us: u64,
}

impl Default for EjectionRule {
    /// Five in a row, 1 s, up to 60 s.
    fn default() -> Self {
        Self { failures: 5, first_pause_us: 1_000_000, max_pause_us: 60_000_000 }
    }
}

impl EjectionRule {
    /// How much trouble ejects.
    fn trouble(&self) -> u32 {
        self.failures.saturating_mul(PER_FAILURE)
    }

    /// The `count`th pause in a row, from 1, before jitter.
    fn pause_us(&self, count: u32) -> u64 {
        let doublings = count.saturating_sub(1).min(63);
        self.first_pause_us.saturating_mul(1 << doublings).min(self.max_pause_us)
    }
}

/// A failure outweighs this many successes.
const PER_FAILURE: u32 = 4;

/// How an endpoint has been doing.
#[derive(Debug, Default)]
pub struct Health {
    /// Rises by [`PER_FAILURE`] with each failure and falls by one with each success, never below zero: so an endpoint that
    /// fails now and then, but too often, is found out as surely as a dead one.
    trouble: AtomicU32,
    /// Pauses that have not been lived down yet.
    pauses: AtomicU32,
    /// End of the present or the last pause; 0 if there was none.
    ejected_until_us: AtomicU64,
    /// A moving average of failures, [`ALL_FAIL`] when every request fails. Tells policies; it ejects nobody.
    failing: AtomicU32,
}

/// The average when every request fails.
const ALL_FAIL: u32 = 1 << 20;

/// Each request moves the average by one part in so many: about the last 32 requests count.
const MOVES: u32 = 16;

impl Health {
    /// Whether the endpoint should get no traffic now.
    pub fn is_ejected(&self, now_us: u64) -> bool {
        self.ejected_until_us.load(Ordering::Relaxed) > now_us
    }

    /// How many of a thousand requests fail, by a moving average over about the last 32.
    pub fn failure_rate(&self) -> u32 {
        (u64::from(self.failing.load(Ordering::Relaxed)) * 1000 / u64::from(ALL_FAIL)) as u32
    }

    /// Takes note of a failed request. Returns whether it ejects the endpoint. `random` spreads the ends of pauses, so
    /// that a thousand sidecars do not come back to a struggling endpoint at the same moment.
    pub fn failed(&self, rule: &EjectionRule, now_us: u64, random: u64) -> bool {
        // A race loses a request or two, which matters to nobody.
        let failing = self.failing.load(Ordering::Relaxed);
        self.failing.store(failing + (ALL_FAIL - failing).div_ceil(MOVES), Ordering::Relaxed);
        // What is still under way when the pause begins tells nothing new.
        if rule.failures == 0 || self.is_ejected(now_us) {
            return false;
        }
        let trouble = self.trouble.fetch_add(PER_FAILURE, Ordering::Relaxed).saturating_add(PER_FAILURE);
        if trouble < rule.trouble() {
            return false;
        }
        let before = self.ejected_until_us.load(Ordering::Relaxed);
        let pause = rule.pause_us(self.pauses.load(Ordering::Relaxed).saturating_add(1));
        let until = now_us.saturating_add(pause).saturating_add(jitter(pause, random));
        // One of several workers that see it fail at once begins the pause.
        if self.ejected_until_us.compare_exchange(before, until, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        self.pauses.fetch_add(1, Ordering::Relaxed);
        // On probation afterwards: one more failure is enough.
        self.trouble.store(rule.trouble() - PER_FAILURE, Ordering::Relaxed);
        true
    }

    /// Takes note of a request that was answered.
    pub fn succeeded(&self, rule: &EjectionRule, now_us: u64) {
        let until = self.ejected_until_us.load(Ordering::Relaxed);
        let failing = self.failing.load(Ordering::Relaxed);
        if failing > 0 {
            self.failing.store(failing - failing.div_ceil(MOVES), Ordering::Relaxed);
        }
        if until > now_us {
            return;
        }
        // An endpoint that never fails costs a load and no store.
        let trouble = self.trouble.load(Ordering::Relaxed);
        if trouble > 0 {
            // A race loses a success or two, which matters to nobody.
            self.trouble.store(trouble - 1, Ordering::Relaxed);
        }
        if until == 0 {
            return;
        }
        // Serving well for as long as the last pause lives one pause down.
        let pauses = self.pauses.load(Ordering::Relaxed);
        if now_us - until < rule.pause_us(pauses) {
            return;
        }
        let lived_down = if pauses > 1 { now_us } else { 0 };
        if self.ejected_until_us.compare_exchange(until, lived_down, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.pauses.store(pauses.saturating_sub(1), Ordering::Relaxed);
        }
    }
}

/// Up to a quarter of the pause.
fn jitter(pause_us: u64, random: u64) -> u64 {
    ((u128::from(pause_us / 4) * u128::from(random)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: EjectionRule = EjectionRule { failures: 3, first_pause_us: 1_000, max_pause_us: 8_000 };

    fn fail(health: &Health, times: u32, now_us: u64) -> bool {
        (0..times).any(|_| health.failed(&RULE, now_us, 0))
    }

    #[test]
    fn failures_in_a_row_eject_and_rare_ones_do_not() {
        let health = Health::default();
        assert!(!fail(&health, 2, 10));
        assert!(fail(&health, 1, 10));
        assert!(health.is_ejected(1_009) && !health.is_ejected(1_010));
        let health = Health::default();
        for now in 0..10_000 {
            assert!(!fail(&health, 1, now), "one in six is borne");
            (0..5).for_each(|_| health.succeeded(&RULE, now));
        }
    }

    #[test]
    fn the_failure_rate_follows_what_happens() {
        let health = Health::default();
        assert_eq!(health.failure_rate(), 0);
        (0..200).for_each(|_| _ = health.failed(&EjectionRule { failures: 0, ..RULE }, 1, 0));
        assert_eq!(health.failure_rate(), 1000);
        (0..400).for_each(|_| health.succeeded(&RULE, 1));
        assert_eq!(health.failure_rate(), 0);
        for n in 0..1_000 {
            if n % 2 == 0 {
                _ = health.failed(&EjectionRule { failures: 0, ..RULE }, 1, 0);
            } else {
                health.succeeded(&RULE, 1);
            }
        }
        assert!((400..=600).contains(&health.failure_rate()), "{}", health.failure_rate());
    }

    #[test]
    fn one_failure_in_four_is_too_many() {
        let health = Health::default();
        let ejected = (0..100).any(|_| {
            (0..3).for_each(|_| health.succeeded(&RULE, 1));
            fail(&health, 1, 1)
        });
        assert!(ejected);
    }

    #[test]
    fn pauses_grow_to_the_limit_while_nothing_works() {
        let health = Health::default();
        let mut now = 1;
        fail(&health, 2, now);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert!(fail(&health, 1, now), "one failure after a pause is enough");
            let until = (now..).find(|at| !health.is_ejected(*at)).unwrap();
            pauses.push(until - now);
            now = until;
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]);
    }

    #[test]
    fn what_was_under_way_does_not_lengthen_a_pause() {
        let health = Health::default();
        fail(&health, 3, 1);
        assert!(!fail(&health, 100, 2));
        health.succeeded(&RULE, 3);
        assert!(health.is_ejected(1_000) && !health.is_ejected(1_001));
    }

    #[test]
    fn serving_well_for_long_enough_is_a_clean_slate() {
        let health = Health::default();
        fail(&health, 3, 1);
        for now in (1_001..6_000).step_by(100) {
            health.succeeded(&RULE, now);
        }
        assert!(!fail(&health, 2, 6_000), "no longer on probation");
        assert!(fail(&health, 1, 6_000));
        assert!(!health.is_ejected(7_000), "and the first pause is short again");
    }

    #[test]
    fn the_rule_can_be_switched_off() {
        let health = Health::default();
        let never = EjectionRule { failures: 0, ..RULE };
        assert!((0..1_000).all(|now| !health.failed(&never, now, 0)));
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        assert_eq!((jitter(1_000, 0), jitter(1_000, u64::MAX)), (0, 249));
    }
}

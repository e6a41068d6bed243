//! A moving average of failures that is forgotten with time.

/// All requests failed.
pub(crate) const ALL: u64 = 1 << 16;

/// One in so many is what a single report counts for.
const REPORTS: u64 = 8;

/// The part of recent requests that failed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Penalty {
    /// Of [`ALL`], as of `at_ms`.
    rate: u64,
    at_ms: u64,
}

impl Penalty {
    /// Takes a report into the average.
    pub(crate) fn observe(&mut self, failed: bool, now_ms: u64, half_life_ms: u64) {
        let rate = self.now(now_ms, half_life_ms);
        let sample = if failed { ALL } else { 0 };
        *self = Self { rate: rate - rate / REPORTS + sample / REPORTS, at_ms: now_ms.max(self.at_ms) };
    }

    /// Of [`ALL`]. Halved with each half-life, and in a straight line between two.
    pub(crate) fn now(self, now_ms: u64, half_life_ms: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.at_ms);
        let halvings = elapsed / half_life_ms;
        if halvings > 16 {
            return 0;
        }
        let rate = self.rate >> halvings;
        rate - rate * (elapsed % half_life_ms) / (2 * half_life_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::{ALL, Penalty};

    const HALF_LIFE: u64 = 1_000;

    #[test]
    fn failures_add_up_and_successes_make_up_for_them() {
        let mut penalty = Penalty::default();
        (0..50).for_each(|_| penalty.observe(true, 0, HALF_LIFE));
        assert!(penalty.now(0, HALF_LIFE) > ALL * 9 / 10 && penalty.now(0, HALF_LIFE) <= ALL);
        (0..50).for_each(|_| penalty.observe(false, 0, HALF_LIFE));
        assert!(penalty.now(0, HALF_LIFE) < ALL / 100);
    }

    #[test]
    fn time_forgets() {
        let mut penalty = Penalty::default();
        (0..50).for_each(|_| penalty.observe(true, 5_000, HALF_LIFE));
        let full = penalty.now(5_000, HALF_LIFE);
        assert_eq!(penalty.now(6_000, HALF_LIFE), full / 2);
        assert!(penalty.now(5_500, HALF_LIFE) < full && penalty.now(5_500, HALF_LIFE) > full / 2);
        assert_eq!(penalty.now(u64::MAX, HALF_LIFE), 0);
        assert_eq!(penalty.now(0, HALF_LIFE), full, "a clock that stands still behind us");
    }
}

//! When a policy that keeps failing is left alone for a while.

/// So many faults within [`WINDOW_US`] put a policy into quarantine.
pub const FAULTS: usize = 3;
/// How long a fault is remembered, in microseconds.
pub const WINDOW_US: u64 = 10_000_000;
/// The first quarantine, in microseconds; each one that follows is twice as long.
pub const FIRST_US: u64 = 1_000_000;
/// The longest quarantine, in microseconds.
pub const LONGEST_US: u64 = 60_000_000;

/// The record of one policy on one proxy. Times are microseconds of any monotonic clock.
///
/// After each quarantine the policy is on probation for as long again as the last one lasted: one fault in it is enough
/// for the next, longer one. Serving through it clears the record.
#[derive(Debug, Clone, Default)]
pub struct Quarantine {
    /// The times of the last faults, oldest first; as many as are needed to decide.
    recent: Vec<u64>,
    /// Quarantines in a row.
    count: u32,
    until_us: u64,
}

impl Quarantine {
    /// Takes note of a fault. Returns until when the policy is to be left alone, if this fault begins a quarantine.
    pub fn fault(&mut self, now_us: u64) -> Option<u64> {
        // What was under way when it began tells nothing new.
        if self.is_active(now_us) {
            return None;
        }
        self.forgive(now_us);
        self.recent.retain(|at| now_us.saturating_sub(*at) < WINDOW_US);
        self.recent.push(now_us);
        if self.count == 0 && self.recent.len() < FAULTS {
            return None;
        }
        let length = Self::length_us(self.count);
        self.count = self.count.saturating_add(1);
        self.recent.clear();
        self.until_us = now_us.saturating_add(length);
        Some(self.until_us)
    }

    /// Whether the policy is to be left alone now.
    pub fn is_active(&self, now_us: u64) -> bool {
        now_us < self.until_us
    }

    /// When the present or last quarantine ends; 0 if there was none.
    pub fn until_us(&self) -> u64 {
        self.until_us
    }

    /// Clears the record of a policy that has served through its probation.
    fn forgive(&mut self, now_us: u64) {
        let served = now_us.saturating_sub(self.until_us);
        if self.count > 0 && served >= Self::length_us(self.count - 1).max(WINDOW_US) {
            *self = Self::default();
        }
    }

    fn length_us(before: u32) -> u64 {
        FIRST_US.saturating_mul(1 << before.min(32)).min(LONGEST_US)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn three_faults_in_ten_seconds_are_too_many_and_spread_out_they_are_not() {
        let mut quarantine = Quarantine::default();
        assert_eq!(quarantine.fault(SECOND), None);
        assert_eq!(quarantine.fault(2 * SECOND), None);
        assert_eq!(quarantine.fault(3 * SECOND), Some(4 * SECOND));
        assert!(quarantine.is_active(4 * SECOND - 1) && !quarantine.is_active(4 * SECOND));
        let mut quarantine = Quarantine::default();
        for n in 1..100 {
            assert_eq!(quarantine.fault(n * 5 * SECOND), None);
        }
    }

    #[test]
    fn pauses_grow_from_one_second_to_sixty() {
        let mut quarantine = Quarantine::default();
        let mut now = SECOND;
        (0..2).for_each(|_| assert_eq!(quarantine.fault(now), None));
        let mut lengths = Vec::new();
        for _ in 0..8 {
            let until = quarantine.fault(now).expect("on probation one fault is enough");
            assert_eq!(quarantine.fault(now), None, "what was under way");
            lengths.push((until - now) / SECOND);
            now = until;
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn serving_through_probation_clears_the_record() {
        let mut quarantine = Quarantine::default();
        (0..3).for_each(|_| _ = quarantine.fault(SECOND));
        assert_eq!(quarantine.until_us(), 2 * SECOND);
        assert_eq!(quarantine.fault(2 * SECOND + WINDOW_US), None);
        assert_eq!(quarantine.until_us(), 0);
    }
}

//! What an endpoint says of itself, such as the length of its queue.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// So many different things an endpoint can report.
pub const REPORT_SLOTS: usize = 32;

/// A report is worth nothing after this long: an endpoint reports with its answers, and one that gets no requests would
/// stand by what it said under load for ever.
pub const STALE_US: u64 = 10_000_000;

/// The last report in each slot. Endpoints that report nothing pay a pointer for it.
#[derive(Debug, Default)]
pub(super) struct Reports(OnceLock<Box<[AtomicU64; REPORT_SLOTS]>>);

/// A tick is 1.024 ms; the counter wraps after 50 days.
const TICK_SHIFT: u32 = 10;

impl Reports {
    pub(super) fn set(&self, slot: usize, thousandths: u32, now_us: u64) {
        let slots = self.0.get_or_init(|| Box::new([const { AtomicU64::new(0) }; REPORT_SLOTS]));
        if let Some(slot) = slots.get(slot) {
            // Value and time in one word, so that a reader never pairs those of two reports.
            slot.store(u64::from(thousandths) << 32 | u64::from(tick_of(now_us)), Ordering::Relaxed);
        }
    }

    pub(super) fn get(&self, slot: usize, now_us: u64) -> Option<u32> {
        let word = self.0.get()?.get(slot)?.load(Ordering::Relaxed);
        if word == 0 {
            return None;
        }
        let age = tick_of(now_us).wrapping_sub(word as u32);
        // A clock reading older than the report makes a huge age, which is none.
        let is_fresh = age <= (STALE_US >> TICK_SHIFT) as u32 || age > u32::MAX / 2;
        is_fresh.then_some((word >> 32) as u32)
    }
}

/// Never 0, so that a word of 0 is a slot without a report.
fn tick_of(now_us: u64) -> u32 {
    ((now_us >> TICK_SHIFT) as u32).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_had_until_it_is_stale() {
        let reports = Reports::default();
        assert_eq!(reports.get(3, 0), None);
        reports.set(3, 0, 0);
        assert_eq!(reports.get(3, 0), Some(0));
        reports.set(3, 1_500, 20_000_000);
        assert_eq!(reports.get(3, 19_000_000), Some(1_500));
        assert_eq!(reports.get(3, 20_000_000 + STALE_US), Some(1_500));
        assert_eq!(reports.get(3, 20_002_000 + STALE_US), None);
        assert_eq!(reports.get(4, 20_000_000), None);
        reports.set(REPORT_SLOTS, 1, 1);
        assert_eq!(reports.get(REPORT_SLOTS, 1), None);
    }
}

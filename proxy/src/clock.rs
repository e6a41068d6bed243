//! One monotonic clock for everything that measures load.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds on the system's monotonic clock. Comparable across threads.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither is ever negative, and 2^64 µs are half a million years.
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000
}

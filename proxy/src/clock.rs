//! One monotonic clock for everything that measures load.

use std::{sync::OnceLock, time::Instant};

/// Microseconds since this process first asked. Comparable across threads.
pub fn now_us() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // 2^64 µs are half a million years.
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

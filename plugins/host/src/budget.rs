//! What each call into a guest may use up.
//!
//! **Fuel** decides: it counts instructions, so a policy that is within its budget on one machine is within it on every
//! other, however busy. Bytes moved in bulk cost one each.
//!
//! **CPU time** is the backstop for what fuel does not see, such as a million calls back into the host. It is the
//! thread's own, so that nobody is blamed for time in which somebody else was running.
//!
//! | call | fuel, for [`crate::Settings::fuel`] = f | CPU time |
//! |---|---|---|
//! | `pick`, `completed` | f | 5 ms |
//! | `update` of n endpoints | 50 f + n f / 10 | 500 ms |
//! | `init`, and instantiation before it | 100 f each | 500 ms each |
//!
//! A turn of the tightest loop costs one and takes about a nanosecond, so fuel runs out first in every call. CPU time is
//! counted from the first tick on that falls into the call, of a clock that ticks every 5 ms.

use std::time::Duration;

/// What one call may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) fuel: u64,
    pub(crate) cpu: Duration,
}

impl Budget {
    pub(crate) fn pick(fuel: u64) -> Self {
        Self { fuel, cpu: Duration::from_millis(5) }
    }

    pub(crate) fn init(fuel: u64) -> Self {
        Self { fuel: fuel.saturating_mul(100), cpu: Duration::from_millis(500) }
    }

    pub(crate) fn update(fuel: u64, endpoints: usize) -> Self {
        let by_length = (fuel / 10).saturating_mul(endpoints as u64);
        Self { fuel: fuel.saturating_mul(50).saturating_add(by_length), cpu: Duration::from_millis(500) }
    }
}

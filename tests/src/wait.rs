//! Waiting for what must come, without guessing how long it takes.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take before the test gives up. Long, because it is only waited for when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

const BETWEEN_LOOKS: Duration = Duration::from_millis(3);

/// Looks until there is something to see, and returns it.
///
/// # Panics
/// When it does not come; `what` names it.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        sleep(BETWEEN_LOOKS);
    }
}

/// Looks until it is so.
///
/// # Panics
/// When it never is; `what` names it.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || is_so().then_some(()));
}

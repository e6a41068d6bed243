//! How long the first snapshot waits for modules. Pure: time is an argument.

use std::time::{Duration, Instant};

/// How long for the next module: after a restart proxies that have them must not be told to do without for the time that fetches take,
/// and a registry that hangs must not keep the mesh from being served.
const NEXT: Duration = Duration::from_secs(5);
/// How long for all of them, as long as they keep coming: a healthy registry gives out hundreds in that time.
const ALL: Duration = Duration::from_secs(60);

/// Until when it makes sense to wait.
#[derive(Debug)]
pub struct Patience {
    here: usize,
    next: Instant,
    all: Instant,
}

impl Patience {
    /// From now on.
    pub fn new(now: Instant) -> Self {
        Self { here: 0, next: now + NEXT, all: now + ALL }
    }

    /// Until when to wait, if by now so many are here.
    pub(super) fn until(&mut self, here: usize, now: Instant) -> Instant {
        if here > self.here {
            self.here = here;
            self.next = now + NEXT;
        }
        self.next.min(self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_while_modules_come_and_not_for_ever() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        assert_eq!(patience.until(0, start), start + NEXT);
        let mut now = start + NEXT / 2;
        assert_eq!(patience.until(0, now), start + NEXT, "nothing has come");
        assert_eq!(patience.until(1, now), now + NEXT);
        assert_eq!(patience.until(1, now + NEXT / 2), now + NEXT, "only something that failed");
        for here in 2..100 {
            now += NEXT / 2;
            assert!(patience.until(here, now) <= start + ALL);
        }
        assert_eq!(patience.until(100, now), start + ALL);
    }
}

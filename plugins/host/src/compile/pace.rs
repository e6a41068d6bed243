//! How fast a compiler may go: as fast as the container's traffic leaves it.
//!
//! The kernel gives a container with a limit so much CPU time in each period, and none to anybody in it for the rest of a period in
//! which that is used up. A compiler would use it all up, in every period, and every request would wait: being nice does not help there.
//! So it is stopped in each period when it has had what the others are not expected to need.

use std::{
    fs,
    os::fd::OwnedFd,
    process::Child,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::container::{CpuLimit, cpu_limit, cpu_used};

/// Parts of a hundred of the limit: what is shared out, and what a compiler gets of it in any case, or it would never end.
const SHARED: u32 = 80;
const LEAST: u32 = 10;
/// How much of what the others have needed at most is still expected of them a period later, in parts of a hundred.
const MEMORY: u32 = 95;

/// Who holds a child to what is left of the container's limit.
pub(super) struct Pacer {
    limit: CpuLimit,
    pid: Pid,
    /// The number alone could belong to somebody else by the time that it is used.
    process: OwnedFd,
}

impl Pacer {
    /// For a child that nobody has waited for yet. `None` without a limit, or where the kernel does not tell: then it goes as fast as it
    /// can.
    pub(super) fn of(child: &Child) -> Option<Self> {
        let limit = cpu_limit()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).ok()?)?;
        Some(Self { limit, pid, process: pidfd_open(pid, PidfdFlags::empty()).ok()? })
    }

    /// Works until `done` is dropped.
    pub(super) fn run(&self, done: &Receiver<()>) {
        let used = || Some(Used { all: cpu_used()?, child: child_used(self.pid)? });
        let Some(mut before) = used() else { return };
        let (period, mut share) = (self.limit.period, Share::new(self.limit));
        loop {
            let begun = Instant::now();
            let turn = share.turn();
            if turn < period {
                if is_done(done, turn) {
                    return;
                }
                self.signal(Signal::STOP);
            }
            let is_done = is_done(done, period.saturating_sub(begun.elapsed()));
            self.signal(Signal::CONT);
            if is_done {
                return;
            }
            let Some(now) = used() else { return };
            share.learn(now.others().saturating_sub(before.others()), begun.elapsed());
            before = now;
        }
    }

    fn signal(&self, signal: Signal) {
        // Whoever has ended cannot be stopped, and need not be.
        let _ = pidfd_send_signal(&self.process, signal);
    }
}

fn is_done(done: &Receiver<()>, after: Duration) -> bool {
    done.recv_timeout(after) != Err(RecvTimeoutError::Timeout)
}

/// CPU time that was used so far.
struct Used {
    all: Duration,
    child: Duration,
}

impl Used {
    fn others(&self) -> Duration {
        self.all.saturating_sub(self.child)
    }
}

/// The CPU time of the one thread that compiles.
fn child_used(pid: Pid) -> Option<Duration> {
    let text = fs::read_to_string(format!("/proc/{}/schedstat", pid.as_raw_nonzero())).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}

/// What a compiler may have of each period.
struct Share {
    limit: CpuLimit,
    /// What the others are expected to need of a period.
    others: Duration,
}

impl Share {
    fn new(limit: CpuLimit) -> Self {
        // Nothing is known yet.
        Self { limit, others: limit.quota }
    }

    fn turn(&self) -> Duration {
        let of_quota = |percent: u32| self.limit.quota * percent / 100;
        of_quota(SHARED).saturating_sub(self.others).max(of_quota(LEAST)).min(self.limit.period)
    }

    /// Others have used so much while so much time has passed.
    fn learn(&mut self, others: Duration, passed: Duration) {
        let periods = passed.as_secs_f64() / self.limit.period.as_secs_f64();
        self.others = others.div_f64(periods.max(1.0)).max(self.others * MEMORY / 100);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn share(quota_ms: u32) -> Share {
        Share::new(CpuLimit { quota: quota_ms * MS, period: 100 * MS })
    }

    #[test]
    fn a_compiler_gets_what_the_others_leave() {
        let mut share = share(10);
        assert_eq!(share.turn(), MS, "while nothing is known");
        (0..100).for_each(|_| share.learn(3 * MS, 100 * MS));
        assert_eq!(share.turn(), 5 * MS);
        share.learn(9 * MS, 100 * MS);
        assert_eq!(share.turn(), MS);
        // What was needed once is expected for a while.
        share.learn(MS, 100 * MS);
        assert_eq!(share.turn(), MS);
        (0..100).for_each(|_| share.learn(6 * MS, 200 * MS));
        assert_eq!(share.turn(), 5 * MS, "three in each period");
    }

    #[test]
    fn it_never_stops_where_there_is_more_than_it_can_use() {
        let mut share = share(400);
        (0..100).for_each(|_| share.learn(100 * MS, 100 * MS));
        assert_eq!(share.turn(), 100 * MS);
    }
}

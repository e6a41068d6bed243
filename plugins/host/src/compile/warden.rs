//! What a compiler may have while it works: what the container's traffic leaves it.
//!
//! CPU time: the kernel gives a container with a limit so much in each period, and none to anybody in it for the rest of a period in
//! which that is used up. A compiler would use it all up, in every period, and every request would wait: being nice does not help
//! there. So it is stopped in each period when it has had what the others are not expected to need.
//!
//! Memory: how much a module takes to compile is not known before. A container without memory is ended as a whole, so the
//! compiler is ended before that comes to pass.

use std::{
    fs,
    os::fd::OwnedFd,
    process::Child,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    container::{Container, CpuLimit},
    neighbour::Neighbour,
};

/// How much memory is not for compilers: what the proxy may need until one has been looked at again, and for what it has made.
const RESERVE_BYTES: u64 = 6 << 20;
/// How often one that works is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A period where the container has none.
const PERIOD: Duration = Duration::from_millis(100);

/// Parts of a thousand of the limit: what is shared out, what a compiler gets of it in the worst case, or it would never end, and how
/// much more than before after a period in which nobody had to wait: so little that it takes ten seconds and more to find out that it
/// is too much.
const SHARED: u32 = 700;
const LEAST: u32 = 20;
const GROWTH: u32 = 2;
/// How much of what the others have needed at most is still expected of them a period later, in parts of a hundred.
const MEMORY: u32 = 95;

/// Who holds a child to what is left of the container's limits.
pub(super) struct Warden {
    container: Container,
    cpu: Option<CpuLimit>,
    /// Where there is less than a CPU, it is better shared.
    neighbour: Option<Neighbour>,
    pid: Pid,
    /// The number alone could belong to somebody else by the time that it is used.
    process: OwnedFd,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// Nothing more to watch.
    Over,
    /// The child was ended because memory became short.
    OutOfMemory,
}

impl Warden {
    /// For a child that nobody has waited for yet. `None` without limits, or where the kernel does not tell: then it has what it wants.
    pub(super) fn of(child: &Child) -> Option<Self> {
        let container = Container::of_this_process();
        let cpu = container.cpu_limit();
        if cpu.is_none() && !container.has_memory_limit() {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).ok()?)?;
        let is_less_than_one = cpu.is_some_and(|limit| limit.quota < limit.period);
        let neighbour = is_less_than_one.then(Neighbour::busiest_of_this_process).flatten();
        Some(Self { container, cpu, neighbour, pid, process: pidfd_open(pid, PidfdFlags::empty()).ok()? })
    }

    /// Watches until `done` is dropped.
    pub(super) fn run(&self, done: &Receiver<()>) -> Watch {
        let period = self.cpu.map_or(PERIOD, |limit| limit.period);
        let mut share = self.cpu.map(Share::new);
        let mut before = self.used();
        loop {
            if let Some(neighbour) = &self.neighbour {
                neighbour.attract(self.pid);
            }
            let begun = Instant::now();
            let turn = share.as_ref().map_or(period, Share::turn);
            if let Some(end) = self.work(done, turn) {
                return end;
            }
            if turn < period {
                self.signal(Signal::STOP);
                if is_done(done, period.saturating_sub(begun.elapsed())) {
                    return Watch::Over;
                }
            }
            let now = self.used();
            if let (Some(share), Some(before), Some(now)) = (&mut share, &before, &now) {
                share.learn(&now.since(before), begun.elapsed());
            }
            before = now;
            if share.as_ref().is_none_or(|share| !share.turn().is_zero()) {
                self.signal(Signal::CONT);
            }
        }
    }

    /// Lets it work for so long.
    fn work(&self, done: &Receiver<()>, turn: Duration) -> Option<Watch> {
        let begun = Instant::now();
        loop {
            let rest = turn.saturating_sub(begun.elapsed());
            if rest.is_zero() {
                return None;
            }
            if is_done(done, rest.min(LOOK_EVERY)) {
                return Some(Watch::Over);
            }
            if self.container.has_less_memory_than(RESERVE_BYTES) {
                self.signal(Signal::KILL);
                return Some(Watch::OutOfMemory);
            }
        }
    }

    fn used(&self) -> Option<Used> {
        let (all, child) = (self.container.cpu_used()?, child_used(self.pid)?);
        Some(Used { others: all.saturating_sub(child), throttled: self.container.throttled() })
    }

    fn signal(&self, signal: Signal) {
        // Whoever has ended cannot be stopped, and need not be.
        let _ = pidfd_send_signal(&self.process, signal);
    }
}

fn is_done(done: &Receiver<()>, after: Duration) -> bool {
    done.recv_timeout(after) != Err(RecvTimeoutError::Timeout)
}

/// What was used of the CPU time so far.
struct Used {
    /// By all but the child.
    others: Duration,
    /// In how many periods there was not enough for all.
    throttled: u64,
}

impl Used {
    fn since(&self, before: &Self) -> Self {
        Self {
            others: self.others.saturating_sub(before.others),
            throttled: self.throttled.saturating_sub(before.throttled),
        }
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
    /// What it gets at most: how CPU time is handed to CPUs costs some of it, more or less.
    most: Duration,
    /// Somebody had to wait, and is to have all of the next period.
    is_resting: bool,
}

impl Share {
    fn new(limit: CpuLimit) -> Self {
        // Nothing is known yet.
        Self { limit, others: limit.quota, most: limit.quota * LEAST / 1000, is_resting: false }
    }

    fn turn(&self) -> Duration {
        if self.is_resting {
            return Duration::ZERO;
        }
        let left = self.of_quota(SHARED).saturating_sub(self.others);
        left.min(self.most).max(self.of_quota(LEAST)).min(self.limit.period)
    }

    /// Others have used so much while so much time has passed.
    fn learn(&mut self, used: &Used, passed: Duration) {
        let periods = passed.as_secs_f64() / self.limit.period.as_secs_f64();
        self.others = used.others.div_f64(periods.max(1.0)).max(self.others * MEMORY / 100);
        self.is_resting = used.throttled > 0;
        self.most = if self.is_resting {
            (self.most / 2).max(self.of_quota(LEAST))
        } else {
            (self.most + self.of_quota(GROWTH)).min(self.of_quota(SHARED))
        };
    }

    fn of_quota(&self, parts: u32) -> Duration {
        self.limit.quota * parts / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn share(quota_ms: u32) -> Share {
        Share::new(CpuLimit { quota: quota_ms * MS, period: 100 * MS })
    }

    /// A minute in which the others used so much of each period.
    fn calm(share: &mut Share, others: Duration) {
        (0..600).for_each(|_| share.learn(&Used { others, throttled: 0 }, 100 * MS));
    }

    #[test]
    fn a_compiler_gets_what_the_others_leave() {
        let mut share = share(10);
        assert_eq!(share.turn(), MS / 5, "while nothing is known");
        calm(&mut share, 3 * MS);
        assert_eq!(share.turn(), 4 * MS);
        share.learn(&Used { others: 9 * MS, throttled: 0 }, 100 * MS);
        assert_eq!(share.turn(), MS / 5);
        // What was needed once is expected for a while.
        share.learn(&Used { others: MS, throttled: 0 }, 100 * MS);
        assert_eq!(share.turn(), MS / 5);
        (0..100).for_each(|_| share.learn(&Used { others: 6 * MS, throttled: 0 }, 200 * MS));
        assert_eq!(share.turn(), 4 * MS, "three in each period");
    }

    #[test]
    fn it_gets_less_where_that_was_too_much() {
        let mut share = share(10);
        calm(&mut share, MS);
        assert_eq!(share.turn(), 6 * MS);
        share.learn(&Used { others: MS, throttled: 1 }, 100 * MS);
        assert_eq!(share.turn(), Duration::ZERO, "others have waited");
        share.learn(&Used { others: MS, throttled: 0 }, 100 * MS);
        assert_eq!(share.turn(), 352 * MS / 100, "half of it, and a little more");
        calm(&mut share, MS);
        assert_eq!(share.turn(), 6 * MS);
    }

    #[test]
    fn it_never_stops_where_there_is_more_than_it_can_use() {
        let mut share = share(400);
        calm(&mut share, 100 * MS);
        assert_eq!(share.turn(), 100 * MS);
    }
}

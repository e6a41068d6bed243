//! The clock of the backstop: it advances the engine's epoch while guests run, and sleeps while none does.
//!
//! A call that finds the clock asleep wakes it, which is the only call of the kernel that a pick can make; it happens
//! once after each pause of about 100 ms. Otherwise the start of a call is one load of a flag that hardly ever changes.

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering, fence},
    },
    thread::{self, Thread},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::Engine;

/// How far apart two epochs are.
const TICK: Duration = Duration::from_millis(5);
/// After so many ticks the clock looks whether anybody still needs it.
const TICKS_AWAKE: u32 = 20;

/// The clock. It stops when this is dropped.
pub(crate) struct Watchdog {
    shared: Arc<Shared>,
}

struct Shared {
    awake: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Watchdog {
    /// A clock for this engine, asleep.
    pub(crate) fn start(engine: &Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            awake: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let (engine, in_thread) = (engine.clone(), Arc::clone(&shared));
        let handle = thread::Builder::new()
            .name("policy-clock".to_owned())
            .stack_size(64 << 10)
            .spawn(move || in_thread.run(&engine))?;
        let _ = shared.thread.set(handle.thread().clone());
        Ok(Self { shared })
    }

    /// Makes sure that at least one tick follows, and more of them as long as this is called every now and then.
    ///
    /// To be called after the deadline of a call was set and again at each tick that interrupts the call. Setting a
    /// deadline reads the epoch; the fence keeps that before the look at the flag. So whoever still sees the flag up has
    /// read an epoch from before the last tick, and that tick will interrupt the call.
    pub(crate) fn keep_awake(&self) {
        fence(Ordering::Acquire);
        if !self.shared.awake.load(Ordering::Acquire) {
            self.shared.wake();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.unpark();
    }
}

impl Shared {
    #[cold]
    fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self, engine: &Engine) {
        while !self.stopped.load(Ordering::Acquire) {
            if !self.awake.load(Ordering::Acquire) {
                thread::park();
                continue;
            }
            for _ in 0..TICKS_AWAKE {
                thread::sleep(TICK);
                engine.increment_epoch();
            }
            self.awake.store(false, Ordering::Release);
            // One more tick after the flag is down, for those who have still seen it up; see `keep_awake`.
            fence(Ordering::SeqCst);
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_until_it_is_needed_and_again_afterwards() {
        let engine = crate::engine::engine().unwrap();
        let watchdog = Watchdog::start(&engine).unwrap();
        assert!(!watchdog.shared.awake.load(Ordering::Acquire));
        watchdog.keep_awake();
        assert!(watchdog.shared.awake.load(Ordering::Acquire));
        for _ in 0..2_000 {
            if !watchdog.shared.awake.load(Ordering::Acquire) {
                return;
            }
            thread::sleep(TICK);
        }
        panic!("the clock did not go to sleep");
    }

    #[test]
    fn cpu_time_is_the_threads_own() {
        let before = thread_cpu_time();
        thread::spawn(|| {
            let start = thread_cpu_time();
            while thread_cpu_time() - start < Duration::from_millis(50) {}
        })
        .join()
        .unwrap();
        assert!(thread_cpu_time() - before < Duration::from_millis(50));
    }
}

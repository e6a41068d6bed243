//! What policies write: cut, printable, and not too much of it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::text;

/// The longest line, in bytes.
const MAX_LINE_BYTES: usize = 1024;
/// So many lines a second, for all instances of a policy together; what is left of a second is not saved up.
const LINES_PER_SECOND: u32 = 10;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Something is broken and somebody should act.
    Error,
    /// Something is odd; the policy copes.
    Warn,
    /// Worth knowing once.
    Info,
    /// For the policy's author.
    Debug,
}

/// Where the lines of a policy go. Called on the thread that runs the policy, so it should not block.
pub trait LogSink: Send + Sync {
    /// Whether lines of this level are of interest. Those that are not cost little and are not counted.
    fn wants(&self, level: LogLevel) -> bool {
        let _ = level;
        true
    }

    /// Takes a line: at most 1 KiB and escapes, without control characters.
    fn write(&self, level: LogLevel, line: &str);
}

/// Nowhere.
impl LogSink for () {
    fn wants(&self, _: LogLevel) -> bool {
        false
    }

    fn write(&self, _: LogLevel, _: &str) {}
}

/// The door to a sink, shared by all instances of a policy. The lock is taken only by lines that are wanted, and held
/// for a few instructions.
pub(crate) struct LogGate {
    sink: Arc<dyn LogSink>,
    second: Mutex<Second>,
}

/// What was written in the present second.
struct Second {
    began: Instant,
    written: u32,
    dropped: u64,
}

impl LogGate {
    pub(crate) fn new(sink: Arc<dyn LogSink>) -> Self {
        Self { sink, second: Mutex::new(Second { began: Instant::now(), written: 0, dropped: 0 }) }
    }

    /// Whether it is worth reading the guest's memory.
    pub(crate) fn wants(&self, level: LogLevel) -> bool {
        self.sink.wants(level)
    }

    /// Lets a line through or drops it.
    pub(crate) fn write(&self, level: LogLevel, line: &str) {
        let Some(dropped) = self.second.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()) else {
            return;
        };
        if dropped > 0 {
            self.sink
                .write(LogLevel::Warn, &format!("{dropped} lines were dropped: more than {LINES_PER_SECOND} a second"));
        }
        self.sink.write(level, &text::line(line, MAX_LINE_BYTES));
    }
}

impl Second {
    /// How many lines were dropped before this one; `None` if it is dropped as well.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.began) >= Duration::from_secs(1) {
            (self.began, self.written) = (now, 0);
        }
        if self.written == LINES_PER_SECOND {
            self.dropped += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_lines_than_allowed_are_counted_and_told() {
        let start = Instant::now();
        let mut second = Second { began: start, written: 0, dropped: 0 };
        let admitted = (0..100).filter(|_| second.admit(start).is_some()).count();
        assert_eq!(admitted, LINES_PER_SECOND as usize);
        assert_eq!(second.admit(start + Duration::from_secs(1)), Some(90));
        assert_eq!(second.admit(start + Duration::from_secs(1)), Some(0));
    }
}

//! How patiently something is put back that somebody else keeps taking away. Pure: time is passed in, as the time since some fixed
//! moment.
//!
//! Somebody who applies the manifests once more is answered at once. A tool that insists on them, every few seconds perhaps, would
//! never be convinced, and both would write without end.

use std::time::Duration;

/// Who takes it away again sooner than this insists.
const CALM: Duration = Duration::from_secs(10 * 60);

/// The pause when it is taken away for the second time in a row. Each further one is twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// After so many times in a row it is said.
const SAID_AFTER: u32 = 3;

/// What has been written and taken away.
#[derive(Debug, Default)]
pub(super) struct Quarrel {
    /// When it was written last.
    written: Option<Duration>,
    /// How often it has been taken away soon after that.
    in_a_row: u32,
}

/// What to do about something that was taken away.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reverted {
    /// How long to wait before it is put back.
    pub(super) pause: Duration,
    /// Whether this is to be said.
    pub(super) is_news: bool,
}

impl Quarrel {
    /// It is where it should be.
    pub(super) fn written(&mut self, now: Duration) {
        self.written = Some(now);
    }

    /// It has been taken away after it was written. None if that is so long ago that nobody insists.
    pub(super) fn reverted(&mut self, now: Duration) -> Option<Reverted> {
        let written = self.written.take()?;
        if now.saturating_sub(written) >= CALM {
            self.in_a_row = 0;
            return None;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        let pause = match self.in_a_row {
            1 => Duration::ZERO,
            times => FIRST_PAUSE.saturating_mul(1 << (times - 2).min(8)).min(MAX_PAUSE),
        };
        Some(Reverted { pause, is_news: self.in_a_row == SAID_AFTER })
    }

    /// When it will have been left alone for long enough, if anybody has insisted.
    pub(super) fn calm_at(&self) -> Option<Duration> {
        self.written.filter(|_| self.in_a_row > 0).map(|written| written + CALM)
    }

    /// It has been. Whether the quarrel had been spoken of.
    pub(super) fn calm(&mut self) -> bool {
        std::mem::take(&mut self.in_a_row) >= SAID_AFTER
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{CALM, MAX_PAUSE, Quarrel};

    #[test]
    fn a_tool_that_insists_is_answered_ever_more_slowly() {
        let mut quarrel = Quarrel::default();
        let (mut now, mut pauses, mut said) = (Duration::ZERO, Vec::new(), 0);
        for _ in 0..10 {
            quarrel.written(now);
            let reverted = quarrel.reverted(now).unwrap();
            pauses.push(reverted.pause.as_secs());
            said += u32::from(reverted.is_news);
            now += reverted.pause;
        }
        assert_eq!(pauses, [0, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(Duration::from_secs(*pauses.last().unwrap()), MAX_PAUSE);
        assert_eq!(said, 1);
        quarrel.written(now);
        assert_eq!(quarrel.calm_at(), Some(now + CALM));
        assert!(quarrel.calm());
        assert_eq!(quarrel.calm_at(), None);
        assert!(!quarrel.calm());
    }

    #[test]
    fn who_applies_the_manifests_now_and_then_is_answered_at_once() {
        let mut quarrel = Quarrel::default();
        for hour in 1..10 {
            let now = Duration::from_secs(hour * 3600);
            assert_eq!(quarrel.reverted(now), None);
            quarrel.written(now);
            assert_eq!(quarrel.calm_at(), None);
        }
    }
}

//! Listens between a policy and the host.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use bytes::Bytes;
use wasmesh_policy_host::{RequestSource, Stats, Word};

use crate::format::Answer;

/// The most answers that are noted in one call. A policy that looks at all of ten thousand endpoints in a pick is not recorded.
pub(crate) const MAX_ANSWERS: usize = 10_000;

/// What was answered since it was taken last. Only the thread that the instance is on comes here, one call at a time.
#[derive(Debug, Default)]
pub(crate) struct Answers(Arc<Mutex<Vec<Answer>>>);

impl Answers {
    /// All of them; one more than [`MAX_ANSWERS`] if there were too many.
    pub(crate) fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *lock(&self.0))
    }

    /// Notes what this load answers from now on, for as long as this is kept: the instance keeps the load for longer.
    pub(crate) fn listen(&self, inner: Box<dyn Stats>) -> HeardStats {
        HeardStats { inner, answers: Arc::downgrade(&self.0) }
    }
}

fn lock(answers: &Mutex<Vec<Answer>>) -> MutexGuard<'_, Vec<Answer>> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Live load whose answers are noted while somebody wants them.
pub(crate) struct HeardStats {
    inner: Box<dyn Stats>,
    answers: Weak<Mutex<Vec<Answer>>>,
}

impl HeardStats {
    fn note(&self, answer: Answer) {
        if let Some(answers) = self.answers.upgrade() {
            let mut answers = lock(&answers);
            if answers.len() <= MAX_ANSWERS {
                answers.push(answer);
            }
        }
    }
}

impl Stats for HeardStats {
    fn in_flight(&self, endpoint: u32) -> u32 {
        let value = self.inner.in_flight(endpoint);
        self.note(Answer::InFlight(endpoint, value));
        value
    }

    fn total_in_flight(&self) -> u32 {
        let value = self.inner.total_in_flight();
        self.note(Answer::TotalInFlight(value));
        value
    }

    fn latency_us(&self, endpoint: u32, now_ms: u64) -> u32 {
        let value = self.inner.latency_us(endpoint, now_ms);
        self.note(Answer::LatencyUs(endpoint, value));
        value
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        let value = self.inner.failure_rate(endpoint);
        self.note(Answer::FailureRate(endpoint, value));
        value
    }

    fn available(&self, endpoint: u32, now_ms: u64) -> bool {
        let value = self.inner.available(endpoint, now_ms);
        self.note(Answer::Available(endpoint, value));
        value
    }

    fn reported(&self, endpoint: u32, want: u32, now_ms: u64) -> Option<u32> {
        let value = self.inner.reported(endpoint, want, now_ms);
        self.note(Answer::Reported(endpoint, want, value));
        value
    }

    fn peers(&self) -> u32 {
        let value = self.inner.peers();
        self.note(Answer::Peers(value));
        value
    }
}

/// A request whose numbers are noted, and of its strings that there were some.
pub struct HeardSource<'a> {
    inner: &'a dyn RequestSource,
    deadline_ms: Cell<Option<u32>>,
    had_strings: Cell<bool>,
}

impl<'a> HeardSource<'a> {
    /// Listens to this one, for one pick.
    pub fn new(inner: &'a dyn RequestSource) -> Self {
        Self { inner, deadline_ms: Cell::default(), had_strings: Cell::default() }
    }

    /// What was left of its time, if the host asked and there is a limit; and whether there were strings.
    pub(crate) fn heard(&self) -> (Option<u32>, bool) {
        (self.deadline_ms.get(), self.had_strings.get())
    }
}

impl RequestSource for HeardSource<'_> {
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>> {
        let value = self.inner.value(word);
        self.had_strings.set(self.had_strings.get() || value.is_some());
        value
    }

    fn body(&self) -> Bytes {
        let body = self.inner.body();
        self.had_strings.set(self.had_strings.get() || !body.is_empty());
        body
    }

    fn deadline_ms(&self) -> u32 {
        let left = self.inner.deadline_ms();
        self.deadline_ms.set((left != u32::MAX).then_some(left));
        left
    }
}

#[cfg(test)]
mod tests {
    use wasmesh_policy_host::{NoStats, Stats};

    use super::{Answers, MAX_ANSWERS};
    use crate::format::Answer;

    #[test]
    fn nothing_is_noted_any_more_when_nobody_wants_it() {
        let answers = Answers::default();
        let stats = answers.listen(Box::new(NoStats));
        assert_eq!((stats.in_flight(3), answers.take()), (0, vec![Answer::InFlight(3, 0)]));
        drop(answers);
        assert!(stats.answers.upgrade().is_none());
        assert_eq!(stats.in_flight(3), 0);
    }

    #[test]
    fn what_is_noted_in_one_call_is_bounded() {
        let answers = Answers::default();
        let stats = answers.listen(Box::new(NoStats));
        assert!((0..MAX_ANSWERS * 2).all(|_| stats.available(0, 0)));
        assert_eq!(answers.take().len(), MAX_ANSWERS + 1);
    }
}

//! Listens between a policy and the host.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use wasmesh_policy_host::{RequestSource, Stats, Word};

use crate::format::Answer;

/// What was answered since it was taken last. Only the thread that the instance is on comes here, one call at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers(Arc<Mutex<Vec<Answer>>>);

impl Answers {
    pub(crate) fn take(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.lock())
    }

    fn add(&self, answer: Answer) {
        self.lock().push(answer);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Live load whose answers are noted.
pub(crate) struct HeardStats {
    pub(crate) inner: Box<dyn Stats>,
    pub(crate) answers: Answers,
}

impl Stats for HeardStats {
    fn in_flight(&self, endpoint: u32) -> u32 {
        let value = self.inner.in_flight(endpoint);
        self.answers.add(Answer::InFlight(endpoint, value));
        value
    }

    fn total_in_flight(&self) -> u32 {
        let value = self.inner.total_in_flight();
        self.answers.add(Answer::TotalInFlight(value));
        value
    }

    fn latency_us(&self, endpoint: u32, now_ms: u64) -> u32 {
        let value = self.inner.latency_us(endpoint, now_ms);
        self.answers.add(Answer::LatencyUs(endpoint, value));
        value
    }

    fn failure_rate(&self, endpoint: u32) -> u32 {
        let value = self.inner.failure_rate(endpoint);
        self.answers.add(Answer::FailureRate(endpoint, value));
        value
    }

    fn available(&self, endpoint: u32, now_ms: u64) -> bool {
        let value = self.inner.available(endpoint, now_ms);
        self.answers.add(Answer::Available(endpoint, value));
        value
    }

    fn reported(&self, endpoint: u32, want: u32, now_ms: u64) -> Option<u32> {
        let value = self.inner.reported(endpoint, want, now_ms);
        self.answers.add(Answer::Reported(endpoint, want, value));
        value
    }

    fn peers(&self) -> u32 {
        let value = self.inner.peers();
        self.answers.add(Answer::Peers(value));
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

//! The endpoints themselves: how they work, wait, remember and fail.

use std::collections::VecDeque;

use super::scenario::{Event, Group, Scenario};

/// How long it takes to answer that nothing can be done, in microseconds.
const REFUSAL_US: f64 = 200.0;

/// An endpoint.
pub(super) struct Server {
    pub(super) group: Group,
    pub(super) is_present: bool,
    /// How often another one has taken its place: one that comes back is a new pod on another address.
    pub(super) incarnation: u32,
    slower: f64,
    failing: f64,
    busy: usize,
    waiting: VecDeque<Job>,
    /// The last values that were asked for, the latest last.
    remembered: VecDeque<usize>,
    /// Requests that it has taken.
    pub(super) taken: u64,
}

/// A request at an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job {
    pub(super) request: usize,
    /// See [`super::random::work`].
    pub(super) work: f64,
    /// From 0 to 1: whoever fails so many of its requests fails this one. The same wherever it goes.
    pub(super) luck: f64,
    /// The value of the key that its cache goes by.
    pub(super) value: Option<usize>,
}

/// A job that is worked on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) request: usize,
    pub(super) takes_us: u64,
    pub(super) failed: bool,
    /// Whether what it asked for was remembered; `None` without a cache.
    pub(super) hit: Option<bool>,
}

impl Server {
    /// All of a scenario, in order.
    pub(super) fn all(scenario: &Scenario) -> Vec<Self> {
        let groups = scenario.endpoints.iter().flat_map(|group| std::iter::repeat_n(group, group.count));
        let server = |group: &Group| Self {
            group: group.clone(),
            is_present: true,
            incarnation: 0,
            slower: 1.0,
            failing: group.failing,
            busy: 0,
            waiting: VecDeque::new(),
            remembered: VecDeque::new(),
            taken: 0,
        };
        groups.map(server).collect()
    }

    /// Something happens to it.
    pub(super) fn suffer(&mut self, event: &Event) {
        self.slower = event.slower.unwrap_or(self.slower);
        self.failing = event.failing.unwrap_or(self.failing);
        let is_present = event.present.unwrap_or(self.is_present);
        if is_present && !self.is_present {
            self.incarnation += 1;
            self.remembered.clear();
        }
        self.is_present = is_present;
    }

    /// A request comes: it is begun, or waits.
    pub(super) fn take(&mut self, job: Job) -> Option<Begun> {
        self.taken += 1;
        if self.busy >= self.group.at_once {
            self.waiting.push_back(job);
            return None;
        }
        self.busy += 1;
        Some(self.begin(job))
    }

    /// One is done: the next that has waited is begun.
    pub(super) fn done(&mut self) -> Option<Begun> {
        match self.waiting.pop_front() {
            Some(job) => Some(self.begin(job)),
            None => {
                self.busy -= 1;
                None
            }
        }
    }

    /// How much of what it can do at once it does, in thousandths; more while requests wait.
    pub(super) fn utilization(&self) -> u32 {
        ((self.busy + self.waiting.len()) * 1000 / self.group.at_once) as u32
    }

    fn begin(&mut self, job: Job) -> Begun {
        let failed = job.luck < self.failing;
        let hit = self.recall(job.value);
        let saved = match (&self.group.cache, hit) {
            (Some(cache), Some(true)) => cache.hit,
            _ => 1.0,
        };
        let takes = if failed { REFUSAL_US } else { self.group.service_time.of(job.work) * self.slower * saved };
        Begun { request: job.request, takes_us: takes.round().max(1.0) as u64, failed, hit }
    }

    fn recall(&mut self, value: Option<usize>) -> Option<bool> {
        let (cache, value) = (self.group.cache.as_ref()?, value?);
        let known = self.remembered.iter().position(|remembered| *remembered == value);
        if let Some(at) = known {
            self.remembered.remove(at);
        }
        self.remembered.push_back(value);
        if self.remembered.len() > cache.entries {
            self.remembered.pop_front();
        }
        Some(known.is_some())
    }
}

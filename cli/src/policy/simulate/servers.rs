//! The endpoints themselves: how they work, wait, remember and fail.

use std::collections::VecDeque;

use super::{
    scenario::{Event, Group, Reported, Scenario},
    sidecar::Failure,
};

/// How long it takes to answer that nothing can be done, in microseconds.
const REFUSAL_US: u64 = 200;

/// An endpoint.
pub(super) struct Server {
    pub(super) group: Group,
    pub(super) is_present: bool,
    /// How often another one has taken its place: one that comes back is a new pod on another address.
    pub(super) incarnation: u32,
    slower: f64,
    failing: f64,
    /// When it came; `None` if it was there from the beginning.
    since_us: Option<u64>,
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
    /// It takes so many times as long for what it is.
    pub(super) slower: f64,
    /// Whether it is one that this endpoint serves.
    pub(super) served: bool,
}

/// A job that is worked on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) request: usize,
    pub(super) takes_us: u64,
    pub(super) failure: Option<Failure>,
    /// Whether what it asked for was remembered; `None` without a cache.
    pub(super) hit: Option<bool>,
}

impl Server {
    /// All of a scenario, in order.
    pub(super) fn all(scenario: &Scenario) -> Vec<Self> {
        let groups = scenario.endpoints.iter().flat_map(|group| std::iter::repeat_n(group, group.count));
        let server = |group: &Group| Self {
            group: group.clone(),
            is_present: group.present,
            incarnation: 0,
            slower: 1.0,
            failing: group.failing,
            since_us: None,
            busy: 0,
            waiting: VecDeque::new(),
            remembered: VecDeque::new(),
            taken: 0,
        };
        groups.map(server).collect()
    }

    /// Something happens to it.
    pub(super) fn suffer(&mut self, event: &Event, now_us: u64) {
        self.slower = event.slower.unwrap_or(self.slower);
        self.failing = event.failing.unwrap_or(self.failing);
        let is_present = event.present.unwrap_or(self.is_present);
        if is_present && !self.is_present {
            self.incarnation += 1;
            self.remembered.clear();
            self.since_us = Some(now_us);
        }
        self.is_present = is_present;
    }

    /// A request comes: it is begun, or waits.
    pub(super) fn take(&mut self, job: Job, now_us: u64) -> Option<Begun> {
        self.taken += 1;
        if self.busy >= self.group.at_once {
            self.waiting.push_back(job);
            return None;
        }
        self.busy += 1;
        Some(self.begin(job, now_us))
    }

    /// One is done: the next that has waited is begun.
    pub(super) fn done(&mut self, now_us: u64) -> Option<Begun> {
        match self.waiting.pop_front() {
            Some(job) => Some(self.begin(job, now_us)),
            None => {
                self.busy -= 1;
                None
            }
        }
    }

    /// What it says of itself under a name, in thousandths.
    pub(super) fn report(&self, name: &str) -> Option<u32> {
        let reported = match &self.group.reports {
            None => Reported::Utilization,
            Some(reports) => *reports.get(name)?,
        };
        let thousandths = match reported {
            Reported::Waiting => self.waiting.len() * 1000,
            Reported::Running => self.busy * 1000,
            Reported::Utilization => (self.busy + self.waiting.len()) * 1000 / self.group.at_once,
        };
        u32::try_from(thousandths).ok()
    }

    /// How many times as long it takes for being new.
    fn coldness(&self, now_us: u64) -> f64 {
        let (Some(warm_up), Some(since_us)) = (self.group.warm_up, self.since_us) else { return 1.0 };
        let passed = (now_us.saturating_sub(since_us) as f64 / 1e6 / warm_up.seconds).min(1.0);
        warm_up.slower + (1.0 - warm_up.slower) * passed
    }

    fn begin(&mut self, job: Job, now_us: u64) -> Begun {
        let failure = match job {
            Job { served: false, .. } => Some(Failure::NotServed),
            Job { luck, .. } => (luck < self.failing).then_some(Failure::Answered),
        };
        if failure.is_some() {
            return Begun { request: job.request, takes_us: REFUSAL_US, failure, hit: None };
        }
        let hit = self.recall(job.value);
        let saved = match (&self.group.cache, hit) {
            (Some(cache), Some(true)) => cache.hit,
            _ => 1.0,
        };
        let factors = self.slower * job.slower * self.coldness(now_us) * saved;
        let takes = self.group.service_time.of(job.work) * factors;
        Begun { request: job.request, takes_us: takes.round().max(1.0) as u64, failure, hit }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_report_what_the_scenario_says() {
        let server = |reports: &str| {
            let scenario = format!(
                "{{ seconds: 1, clients: {{ sidecars: 1, requestsPerSecond: 1 }}, \
                 endpoints: [{{ serviceTime: {{ median: 1, p99: 1 }}, atOnce: 2{reports} }}] }}"
            );
            let mut server = Server::all(&Scenario::parse(&scenario).unwrap()).remove(0);
            let job = Job { request: 0, work: 0.0, luck: 0.5, value: None, slower: 1.0, served: true };
            let begun = (0..5).filter_map(|_| server.take(job, 0)).count();
            assert_eq!(begun, 2);
            server
        };
        let named = server(", reports: { line: waiting, work: running, busy: utilization }");
        let reported = ["line", "work", "busy", "other"].map(|name| named.report(name));
        assert_eq!(reported, [Some(3_000), Some(2_000), Some(2_500), None]);
        assert_eq!(server("").report("whatever"), Some(2_500));
        assert_eq!(server(", reports: {}").report("whatever"), None);
    }
}

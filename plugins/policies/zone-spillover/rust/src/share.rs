//! Which part of the requests the own zone takes.

use wasmesh_policy::{random::below, stats};

/// How long an answer is good for: looking at every endpoint costs too much to do it for each request.
const REFRESH_MS: u64 = 50;

/// All of the requests.
const ALL: u64 = 1 << 16;

/// When requests leave the zone.
pub(crate) struct Rule {
    /// By how much the zone may be short of endpoints before anything spills.
    pub(crate) slack_percent: u32,
    /// How many requests under way an endpoint takes; none for any number.
    pub(crate) limit: Option<u32>,
}

/// The part of the requests that stays, looked after every [`REFRESH_MS`].
pub(crate) struct Share {
    rule: Rule,
    /// The endpoints of the own zone.
    members: Vec<u32>,
    /// Of [`ALL`].
    part: u64,
    /// When `part` was found; none if it is not known for these members.
    found_ms: Option<u64>,
}

impl Share {
    pub(crate) fn new(rule: Rule) -> Self {
        Self { rule, members: Vec::new(), part: 0, found_ms: None }
    }

    /// Other endpoints from now on.
    pub(crate) fn set_members(&mut self, members: Vec<u32>) {
        self.members = members;
        self.found_ms = None;
    }

    /// Whether this request stays.
    pub(crate) fn takes(&mut self, now_ms: u64, random: u64) -> bool {
        if self.found_ms.is_none_or(|found| now_ms.wrapping_sub(found) >= REFRESH_MS) {
            self.part = self.find();
            self.found_ms = Some(now_ms);
        }
        below(random, ALL) < self.part
    }

    fn find(&self) -> u64 {
        let available = || self.members.iter().filter(|index| stats::available(**index));
        let (all, up) = (self.members.len() as u64, available().count() as u64);
        if up == 0 {
            return 0;
        }
        let by_number = ALL * up * (100 + u64::from(self.rule.slack_percent)) / (100 * all);
        let Some(limit) = self.rule.limit else { return by_number.min(ALL) };
        // What is under way stays at the limit if that part of what comes is sent elsewhere that exceeds it now.
        let under_way = available().map(|index| u64::from(stats::in_flight(*index))).sum::<u64>().max(1);
        by_number.min(ALL * up * u64::from(limit) / under_way).min(ALL)
    }
}

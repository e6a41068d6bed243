//! The list that `update` gives, and live load beside it.

use std::net::SocketAddr;

/// One candidate as a policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointView<'a> {
    /// The same for this endpoint in every update, worker and proxy.
    pub id: u64,
    /// Written as text, such as `10.244.1.16:9898` or `[fd00::1]:9898`.
    pub address: SocketAddr,
    /// Share of traffic; 0 is told as 1.
    pub weight: u32,
    /// 0 is preferred.
    pub priority: u32,
    /// Empty if unknown.
    pub zone: &'a str,
    /// Empty if unknown.
    pub node: &'a str,
    /// How it is doing.
    pub health: Health,
    /// When it became a candidate, in milliseconds on the clock of [`crate::Request::now_ms`].
    pub ready_ms: u64,
    /// Those of its labels that the policy may see, sorted by name.
    pub labels: &'a [(&'a str, &'a str)],
}

/// What is known of an endpoint when the list is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// Nothing is held against it.
    #[default]
    Healthy,
    /// Ejected lately, or still failing.
    Degraded,
    /// On its way out.
    Draining,
}

/// Live load of the endpoints of one list. Called in the middle of a pick: nothing here may block.
///
/// The host asks only for indexes of the list that was given together with it.
pub trait Stats: Send {
    /// Requests under way to the endpoint.
    fn in_flight(&self, endpoint: u32) -> u32;
    /// Requests under way to all endpoints of the list.
    fn total_in_flight(&self) -> u32;
    /// Average time to response headers in microseconds; 0 while there is no sample.
    fn latency_us(&self, endpoint: u32, now_ms: u64) -> u32;
    /// How many of 1000 recent requests failed.
    fn failure_rate(&self, endpoint: u32) -> u32;
    /// Whether the endpoint may be picked: neither ejected nor full nor gone.
    fn available(&self, endpoint: u32, now_ms: u64) -> bool;
    /// What the endpoint said of itself, in thousandths; `None` if nothing, or too long ago. `want` is the index of a
    /// [`crate::Want::Report`] in the plan, which has its name.
    fn reported(&self, endpoint: u32, want: u32, now_ms: u64) -> Option<u32>;
    /// How many proxies balance over the same endpoints, this one included.
    fn peers(&self) -> u32;
}

/// Endpoints that are idle, always were, and never said anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoStats;

impl Stats for NoStats {
    fn in_flight(&self, _: u32) -> u32 {
        0
    }

    fn total_in_flight(&self) -> u32 {
        0
    }

    fn latency_us(&self, _: u32, _: u64) -> u32 {
        0
    }

    fn failure_rate(&self, _: u32) -> u32 {
        0
    }

    fn available(&self, _: u32, _: u64) -> bool {
        true
    }

    fn reported(&self, _: u32, _: u32, _: u64) -> Option<u32> {
        None
    }

    fn peers(&self) -> u32 {
        1
    }
}

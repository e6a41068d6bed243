//! What the proxy does at most, and the counts that this is held to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rustix::process::{Resource, getrlimit};

use crate::Options;

/// Limits of the whole proxy. Cheap to clone; clones share the counts.
#[derive(Clone)]
pub struct Limits {
    /// Client connections at once.
    pub connections: usize,
    /// Client connections that there are file descriptors for: each has one of its own, and one to an endpoint.
    pub connections_by_files: usize,
    /// HTTP requests in flight at once, from their head to the head of their response.
    pub requests: usize,
    /// Streams of one HTTP/2 client connection.
    pub streams: u32,
    /// Bytes of one request head.
    pub header_bytes: usize,
    /// Bytes of one request body that are remembered so that it can be sent again.
    pub replay_bytes: usize,
    /// A worker's part of the bytes of bodies that are held in all.
    pub buffered_bytes: usize,
    in_flight: Waiting,
    /// Of these, the ones of which it is not known yet whose they are.
    routed: Waiting,
    /// And the ones that are passed through.
    passed: Waiting,
}

/// How many requests wait for their answer: all of them, or those of one Service.
pub type Waiting = Arc<AtomicUsize>;

/// A request in flight; counted until it is dropped.
pub struct RequestInFlight([Waiting; 2]);

/// A few windows of HTTP/2: with less, every worker would have everybody wait for everybody.
const LEAST_BUFFERED_BYTES: usize = 1 << 20;

impl Limits {
    /// The limits that the options ask for, for so many workers, with nothing in flight.
    pub fn new(options: &Options, workers: usize) -> Self {
        Self {
            connections: options.max_connections,
            connections_by_files: connections_by_files(),
            requests: options.max_requests,
            streams: options.max_streams,
            header_bytes: options.max_header_bytes,
            replay_bytes: options.max_replay_bytes,
            buffered_bytes: (usize::try_from(options.max_buffered_bytes).unwrap_or(usize::MAX) / workers.max(1))
                .max(LEAST_BUFFERED_BYTES),
            in_flight: Arc::default(),
            routed: Arc::default(),
            passed: Arc::default(),
        }
    }

    /// Counts a request to a Service, of which so many wait already, or says that it would be one too many.
    ///
    /// The last tenth is for Services that have less than a tenth of all: one whose endpoints do not answer any more takes nobody else
    /// along.
    pub fn enter_request(&self, of_service: &Waiting) -> Option<RequestInFlight> {
        let request = RequestInFlight([Arc::clone(of_service), Arc::clone(&self.in_flight)]);
        let own = of_service.fetch_add(1, Ordering::Relaxed);
        let all = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let reserve = self.requests / 10;
        (all < self.requests - reserve || (all < self.requests && own < reserve)).then_some(request)
    }

    /// The same for a request of which it is not known yet whose it is.
    pub fn enter_routed_request(&self) -> Option<RequestInFlight> {
        self.enter_request(&self.routed)
    }

    /// The same for a request that is passed through: all of these are as one Service.
    pub fn enter_passed_request(&self) -> Option<RequestInFlight> {
        self.enter_request(&self.passed)
    }
}

/// File descriptors of the proxy's own: listeners, pollers of its threads, the stream to the control plane, admin, DNS.
const OWN_FILES: u64 = 64;

fn connections_by_files() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(OWN_FILES) / 2).unwrap_or(usize::MAX).max(1)
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.iter().for_each(|waiting| {
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: usize) -> Limits {
        Limits {
            connections: 0,
            connections_by_files: 0,
            requests,
            streams: 0,
            header_bytes: 0,
            replay_bytes: 0,
            buffered_bytes: 0,
            in_flight: Waiting::default(),
            routed: Waiting::default(),
            passed: Waiting::default(),
        }
    }

    #[test]
    fn a_service_that_does_not_answer_leaves_room_for_others() {
        let limits = limits(100);
        let (hanging, other) = (Waiting::default(), Waiting::default());
        let held: Vec<_> = (0..1000).filter_map(|_| limits.enter_request(&hanging)).collect();
        assert_eq!(held.len(), 90);
        let others: Vec<_> = (0..20).filter_map(|_| limits.enter_request(&other)).collect();
        assert_eq!(others.len(), 10);
        drop((held, others));
        assert_eq!((hanging.load(Ordering::Relaxed), limits.in_flight.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn a_few_are_a_few() {
        let limits = limits(3);
        let service = Waiting::default();
        let held: Vec<_> = (0..5).filter_map(|_| limits.enter_request(&service)).collect();
        assert_eq!(held.len(), 3);
    }
}

//! What the proxy does at most, and the counts that this is held to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::Options;

/// Limits of the whole proxy. Cheap to clone; clones share the counts.
#[derive(Clone)]
pub struct Limits {
    /// Client connections at once.
    pub connections: usize,
    /// HTTP requests in flight at once, from their head to the head of their response.
    pub requests: usize,
    /// Streams of one HTTP/2 client connection.
    pub streams: u32,
    /// Bytes of one request head.
    pub header_bytes: usize,
    /// Bytes of one request body that are remembered so that it can be sent again.
    pub replay_bytes: usize,
    in_flight: Arc<AtomicUsize>,
}

/// A request in flight; counted until it is dropped.
pub struct RequestInFlight(Arc<AtomicUsize>);

impl Limits {
    /// The limits that the options ask for, with nothing in flight.
    pub fn new(options: &Options) -> Self {
        Self {
            connections: options.max_connections,
            requests: options.max_requests,
            streams: options.max_streams,
            header_bytes: options.max_header_bytes,
            replay_bytes: options.max_replay_bytes,
            in_flight: Arc::default(),
        }
    }

    /// Counts a request, or says that it would be one too many.
    pub fn enter_request(&self) -> Option<RequestInFlight> {
        let request = RequestInFlight(Arc::clone(&self.in_flight));
        (self.in_flight.fetch_add(1, Ordering::Relaxed) < self.requests).then_some(request)
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

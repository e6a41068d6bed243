//! One request on its way to one endpoint, from the pick to the end of the response, however it ends.

use std::rc::Rc;

use hyper::{HeaderMap, StatusCode};
use wasmesh_core::load::EndpointLoad;
use wasmesh_policy_host::Outcome;

use super::{answer::Dialect, connection::Lease};
use crate::{
    clock::now_us,
    health::Verdicts,
    service_metrics::ServiceMetrics,
    worker::{Cell, Pick},
};

/// A request that an endpoint is working on. Its load ends when this is dropped.
pub struct Exchange {
    pick: Pick,
    metrics: Rc<ServiceMetrics>,
    verdicts: Verdicts,
    started_us: u64,
    status: u16,
    /// The endpoint has said that it is unavailable.
    unavailable: bool,
    /// The status of a gRPC call, once it is known.
    grpc_status: Option<u16>,
    /// What follows the head is no answer but a connection.
    is_stream: bool,
    is_grpc: bool,
    lease: Option<Lease>,
}

impl Exchange {
    /// A request that came in at `started_us` goes to the endpoint of `pick`.
    pub(super) fn begin(cell: &Cell, pick: Pick, verdicts: Verdicts, started_us: u64) -> Self {
        let metrics = Rc::clone(cell.metrics());
        Self {
            pick,
            metrics,
            verdicts,
            started_us,
            status: 0,
            unavailable: false,
            grpc_status: None,
            is_stream: false,
            is_grpc: false,
            lease: None,
        }
    }

    /// The head of the response is here. A connection that can be used again is kept when the body has ended.
    pub(super) fn answered(&mut self, status: StatusCode, headers: &HeaderMap, sent_us: u64, lease: Lease) {
        let now = now_us();
        self.pick.slot.load.observe(now.saturating_sub(sent_us), now);
        self.status = status.as_u16();
        let gateway_failure =
            matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT);
        self.unavailable = gateway_failure || says_unavailable(headers);
        self.is_grpc = Dialect::of(headers) == Dialect::Grpc;
        self.grpc_status = grpc_status(headers);
        self.pick.ticket().into_iter().for_each(|ticket| ticket.answered(self.status));
        self.lease = Some(lease);
    }

    /// Whether the response is that of a gRPC call, which ends with a status whatever happens.
    pub(super) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// The trailers of the response: gRPC says there how the call went.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        self.unavailable |= says_unavailable(trailers);
        self.grpc_status = grpc_status(trailers).or(self.grpc_status);
    }

    /// The body has ended as it should.
    pub(super) fn completed(mut self) {
        if let Some(Lease::Http1(connection)) = self.lease.take() {
            self.pick.slot.pool.give_back(connection);
        }
        self.tell_policy();
        if self.unavailable {
            self.verdicts.failed(&self.pick.slot);
        } else {
            self.verdicts.succeeded(&self.pick.slot);
        }
    }

    /// The connection has stopped being HTTP: it is the endpoint's load until it ends, and of no use to others then.
    pub(super) fn switched(&mut self) {
        self.lease = None;
        self.is_stream = true;
    }

    /// The endpoint broke off: in the middle of the body, or before it answered at all.
    pub(super) fn broke(self) {
        self.pick.lost(true);
        self.verdicts.unreachable(&self.pick.slot);
        if self.status != 0 {
            self.metrics.response_broken();
        }
    }

    /// The load of the endpoint.
    pub(super) fn load(&self) -> &EndpointLoad {
        &self.pick.slot.load
    }

    fn tell_policy(&self) {
        let Some(ticket) = self.pick.ticket() else { return };
        if let Some(status) = self.grpc_status {
            ticket.says(GRPC_STATUSES + u32::from(status));
        }
        // UNKNOWN, INTERNAL, UNAVAILABLE, DATA_LOSS: the server's own failures.
        let server_error = self.status >= 500 || matches!(self.grpc_status, Some(2 | 13..=15));
        // DEADLINE_EXCEEDED.
        let timeout = self.grpc_status == Some(4) || self.status == 504;
        ticket.ended(Outcome { server_error, timeout, streamed: self.is_stream, ..Outcome::default() });
    }

    /// The client went away before the body ended, which says nothing of the endpoint. Closing the connection, or
    /// resetting the stream, tells it.
    pub(super) fn abandoned(self) {
        self.metrics.response_abandoned();
    }
}

/// Policies are told statuses of gRPC above this, so that they do not look like those of HTTP.
const GRPC_STATUSES: u32 = 1000;

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// gRPC's UNAVAILABLE. Any other status is the application's own business.
fn says_unavailable(headers: &HeaderMap) -> bool {
    headers.get("grpc-status").is_some_and(|status| status == "14")
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.status != 0 {
            self.metrics.responded(self.status, now_us().saturating_sub(self.started_us));
        }
    }
}

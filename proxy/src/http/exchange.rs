//! One request on its way to one endpoint, from the pick to the end of the response, however it ends.

use std::rc::Rc;

use hyper::HeaderMap;
use wasmesh_core::load::EndpointLoad;
use wasmesh_policy_host::Outcome;

use super::{answer::Dialect, connection::Lease, fields::Fields, request_body::Upload};
use crate::{
    clock::now_us,
    health::Verdicts,
    http1::Upstream,
    service_metrics::ServiceMetrics,
    worker::{Cell, Pick},
};

/// What an endpoint says in the head of its response, as far as it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    status: u16,
    /// That it is unavailable.
    unavailable: bool,
    is_grpc: bool,
    grpc_status: Option<u16>,
}

impl Said {
    /// With this status and these fields.
    pub fn of(status: u16, fields: &impl Fields) -> Self {
        let grpc_status = grpc_status(fields);
        let unavailable = matches!(status, 502..=504) || grpc_status == Some(UNAVAILABLE);
        Self { status, unavailable, is_grpc: Dialect::of(fields) == Dialect::Grpc, grpc_status }
    }
}

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
    upload: Option<Upload>,
}

impl Exchange {
    /// A request that came in at `started_us` goes to the endpoint of `pick`.
    pub fn begin(cell: &Cell, pick: Pick, verdicts: Verdicts, started_us: u64) -> Self {
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
            upload: None,
        }
    }

    /// The head of the response is here.
    pub fn answered(&mut self, said: Said, sent_us: u64) {
        let now = now_us();
        self.pick.slot.load.observe(now.saturating_sub(sent_us), now);
        Said {
            status: self.status,
            unavailable: self.unavailable,
            is_grpc: self.is_grpc,
            grpc_status: self.grpc_status,
        } = said;
        self.pick.ticket().into_iter().for_each(|ticket| ticket.answered(self.status));
    }

    /// A connection that can be used again is kept when the body has ended. If the response is abandoned, so is the rest of the request.
    pub(super) fn hold(&mut self, lease: Lease, upload: Option<Upload>) {
        self.lease = Some(lease);
        self.upload = upload;
    }

    /// The body has ended as it should, and the connection can be used again if there is one.
    pub fn done(self, upstream: Option<Upstream>) {
        upstream.into_iter().for_each(|upstream| self.pick.slot.pool.give_back_plain(upstream));
        self.completed();
    }

    /// Whether the response is that of a gRPC call, which ends with a status whatever happens.
    pub(super) fn is_grpc(&self) -> bool {
        self.is_grpc
    }

    /// The trailers of the response: gRPC says there how the call went.
    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        let status = grpc_status(trailers);
        self.unavailable |= status == Some(UNAVAILABLE);
        self.grpc_status = status.or(self.grpc_status);
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
    pub fn broke(self) {
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
    pub fn abandoned(mut self) {
        self.upload.take().into_iter().for_each(Upload::abandon);
        self.metrics.response_abandoned();
    }
}

/// Policies are told statuses of gRPC above this, so that they do not look like those of HTTP.
const GRPC_STATUSES: u32 = 1000;

/// gRPC's UNAVAILABLE. Any other status is the application's own business.
const UNAVAILABLE: u16 = 14;

fn grpc_status(fields: &impl Fields) -> Option<u16> {
    std::str::from_utf8(fields.first("grpc-status")?).ok()?.parse().ok()
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.status != 0 {
            self.metrics.responded(self.status, now_us().saturating_sub(self.started_us));
        }
    }
}

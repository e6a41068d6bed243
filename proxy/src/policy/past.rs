//! The last picks of a cell: what a policy was given, what it said, and where the request went. For whoever asks afterwards.

use std::{collections::VecDeque, net::SocketAddr};

use wasmesh_core::endpoint::EndpointId;
use wasmesh_policy_host::Request;

use super::record::Role;

/// How many picks are kept, per cell of a worker.
const KEPT: usize = 32;

/// One pick.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    /// When.
    pub at_us: u64,
    /// What the policy was given; `None` if it was not asked.
    pub request: Option<Request>,
    /// What it was asked to avoid. The request has its index in a list that may be another one by now.
    pub avoid: Option<EndpointId>,
    /// Who said what.
    pub said: Said,
    /// Where the request went, and how that endpoint was doing; `None` if nowhere.
    pub went: Option<Went>,
}

/// What was decided, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The policy has chosen an endpoint.
    Endpoint {
        /// Which policy.
        role: Role,
        /// Whom.
        chosen: EndpointId,
        /// The next.
        alternate: Option<EndpointId>,
        /// Why.
        reason: u32,
    },
    /// A policy has left it to the built-in one.
    Fallback(Role),
    /// A policy wants to refuse it with a status.
    Reject(Role, u16),
    /// A policy wants to hold it for so many milliseconds.
    Hold(Role, u32),
    /// The policy is not there yet.
    NotYet,
    /// The policy has failed when it was asked.
    Failed,
    /// The policy has failed too often before, and is left alone.
    LeftAlone,
    /// Nobody was asked: the session stays where it is.
    Session,
    /// Nobody was asked: it goes on to the alternate of the choice before, or once more to the same endpoint.
    Onward,
}

/// An endpoint that got a request, as it was without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Went {
    /// Which.
    pub id: EndpointId,
    /// Where that is.
    pub address: SocketAddr,
    /// Requests under way.
    pub in_flight: u32,
    /// Average latency in microseconds; 0 if unknown.
    pub latency_us: u32,
    /// Of 1000 requests lately.
    pub failure_rate: u32,
}

/// The last picks of a cell, the oldest first.
#[derive(Debug, Clone, Default)]
pub struct Lately(VecDeque<Past>);

impl Said {
    /// Whose word it is.
    fn role(self) -> Role {
        match self {
            Self::Endpoint { role, .. } | Self::Fallback(role) | Self::Reject(role, _) | Self::Hold(role, _) => role,
            Self::NotYet | Self::Failed | Self::LeftAlone | Self::Session | Self::Onward => Role::Serving,
        }
    }
}

impl Lately {
    /// One more. Of those that only wait, the last one is enough.
    pub fn add(&mut self, past: Past) {
        let waits = |past: &Past| past.went.is_none() && matches!(past.said, Said::NotYet | Said::Hold(..));
        if self.0.back().is_some_and(waits) && waits(&past) {
            self.0.pop_back();
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(past);
    }

    /// Forgets what was a policy's word.
    pub fn forget(&mut self, role: Role) {
        self.0.retain(|past| past.said.role() != role);
    }

    /// All of them.
    pub fn list(&self) -> Vec<Past> {
        self.0.iter().copied().collect()
    }
}

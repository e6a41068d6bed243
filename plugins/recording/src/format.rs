//! The lines of a recording: JSON, one object each. The first is a [`Head`], the last an [`End`]; without that it was cut off.
//!
//! Lines of one instance are in order; those of several, on several workers, come as they come.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use wasmesh_policy_host as host;

/// The format that is written and read.
pub(crate) const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// What is recorded.
    Recording(Head),
    /// An instance begins, with its first and only list of endpoints.
    Instance(Begun),
    /// An instance was asked.
    Pick(Pick),
    /// An instance was told how a request has ended.
    Completed(Reported),
    /// The state of an instance was copied, for another one to go on from.
    Snapshot {
        /// Whose.
        instance: u64,
        /// What [`Begun::from`] calls it.
        snapshot: u64,
    },
    /// The recording is whole.
    End(End),
}

/// What is recorded, and how the policy ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Of the recording: 1.
    pub format: u32,
    /// Namespace and name of the Service.
    pub service: String,
    /// Its port.
    pub port: u16,
    /// The proxy that recorded.
    pub proxy: String,
    /// The policy object.
    pub policy: String,
    /// SHA-256 of the module.
    pub module: String,
    /// What `init` got.
    pub config: String,
    /// Fuel of a pick.
    pub fuel: u64,
    /// Memory of an instance.
    pub memory_bytes: usize,
    /// What it might have and do.
    pub grants: Grants,
    /// What the plan's keys are made of.
    pub keys: Vec<String>,
    /// What else the plan wants.
    pub wants: Vec<String>,
    /// Names of the plan's reasons.
    pub reasons: Vec<String>,
}

/// What a policy may have and do, as its object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "each is a permission of its own")]
pub struct Grants {
    /// Read the beginning of bodies.
    pub body: bool,
    /// Refuse requests.
    pub reject: bool,
    /// Hold requests back.
    pub hold: bool,
    /// Read headers that carry secrets.
    pub sensitive_headers: bool,
}

/// The beginning of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its number in this recording.
    pub instance: u64,
    /// The snapshot that it goes on from; without one it is fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// What `init` is told of where it is.
    pub about: Vec<(String, String)>,
    /// Of the update.
    pub generation: u64,
    /// Of the update.
    pub now_ms: u64,
    /// The list.
    pub endpoints: Vec<Endpoint>,
    /// What it asked in the update.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
}

/// A candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its identity.
    pub id: u64,
    /// Where it is.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// 0 is preferred.
    pub priority: u32,
    /// Empty if unknown.
    pub zone: String,
    /// Empty if unknown.
    pub node: String,
    /// `healthy`, `degraded` or `draining`.
    pub health: Health,
    /// When it became a candidate.
    pub ready_ms: u64,
    /// Those that the policy may see.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(String, String)>,
}

/// How an endpoint is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Nothing is held against it.
    Healthy,
    /// Failing.
    Degraded,
    /// On its way out.
    Draining,
}

/// A question of an instance about load, and the answer. Endpoints are named by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Requests under way to an endpoint.
    InFlight(u32, u32),
    /// Requests under way to all.
    TotalInFlight(u32),
    /// Latency of an endpoint in microseconds.
    LatencyUs(u32, u32),
    /// How many of 1000 requests to an endpoint failed.
    FailureRate(u32, u32),
    /// Whether an endpoint may be picked.
    Available(u32, bool),
    /// What an endpoint said of itself, by index of the want.
    Reported(u32, u32, Option<u32>),
    /// Proxies over the same endpoints.
    Peers(u32),
}

/// One pick: what was given, what was asked, what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pick {
    /// Who was asked.
    pub instance: u64,
    /// Random bits.
    pub random: u64,
    /// When.
    pub now_ms: u64,
    /// Hashes of what the plan's keys name; `null` where the request has nothing by that name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Option<u64>>,
    /// 0, then one more for each retry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// On which the request has just failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avoid: Option<u32>,
    /// What is spoken: some of `http`, `grpc`, `tls`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
    /// What is left of the request's time, in milliseconds, if anything limits it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u32>,
    /// The policy could read strings or the body of this request, which are not recorded; nor is its tag, then.
    #[serde(default, skip_serializing_if = "is_false")]
    pub had_strings: bool,
    /// What it asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// What came of it.
    pub then: Then,
}

/// A trait of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trait {
    /// HTTP, gRPC included.
    Http,
    /// gRPC.
    Grpc,
    /// TLS.
    Tls,
}

/// What came of a pick.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// An endpoint, by index.
    Endpoint {
        /// Which.
        index: u32,
        /// The next, if that one cannot be connected to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        alternate: Option<u32>,
        /// Index of the reason.
        reason: u32,
        /// Comes back in the report.
        #[serde(default, skip_serializing_if = "is_zero_64")]
        tag: u64,
    },
    /// It was left to the built-in policy, for this reason.
    Fallback(u32),
    /// The request was refused with a status, for a reason.
    Reject(u16, u32),
    /// The request was held for so many milliseconds, for a reason.
    Hold(u32, u32),
    /// The instance failed in this way.
    Fault(String),
}

/// How a request ended, as it was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Who was told.
    pub instance: u64,
    /// Identity of the endpoint.
    pub endpoint_id: u64,
    /// Of the decision.
    pub tag: u64,
    /// To the response headers.
    pub first_byte_us: u32,
    /// To the end.
    pub total_us: u32,
    /// The status.
    pub status: u32,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outcome: Vec<Outcome>,
    /// When.
    pub now_ms: u64,
    /// What the policy asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
}

/// Something that went wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// No connection, or it broke.
    TransportError,
    /// The server failed.
    ServerError,
    /// It took too long.
    Timeout,
    /// The client went away.
    Cancelled,
    /// The answer was a stream.
    Streamed,
}

/// How a recording ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How many picks it has.
    pub picks: u64,
    /// Why no more.
    pub why: String,
}

impl From<host::Grants> for Grants {
    fn from(host::Grants { body, reject, hold, sensitive_headers }: host::Grants) -> Self {
        Self { body, reject, hold, sensitive_headers }
    }
}

impl From<Grants> for host::Grants {
    fn from(Grants { body, reject, hold, sensitive_headers }: Grants) -> Self {
        Self { body, reject, hold, sensitive_headers }
    }
}

impl From<host::Health> for Health {
    fn from(health: host::Health) -> Self {
        match health {
            host::Health::Healthy => Self::Healthy,
            host::Health::Degraded => Self::Degraded,
            host::Health::Draining => Self::Draining,
        }
    }
}

impl From<Health> for host::Health {
    fn from(health: Health) -> Self {
        match health {
            Health::Healthy => Self::Healthy,
            Health::Degraded => Self::Degraded,
            Health::Draining => Self::Draining,
        }
    }
}

impl From<&host::EndpointView<'_>> for Endpoint {
    fn from(view: &host::EndpointView<'_>) -> Self {
        Self {
            id: view.id,
            address: view.address,
            weight: view.weight,
            priority: view.priority,
            zone: view.zone.to_owned(),
            node: view.node.to_owned(),
            health: view.health.into(),
            ready_ms: view.ready_ms,
            labels: view.labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }
}

impl Head {
    /// What is recorded: a policy object's program, on a Service's port, by a proxy.
    pub fn of(policy: &host::Policy, name: &str, service: &str, port: u16, proxy: &str) -> Self {
        let (settings, plan) = (policy.settings(), policy.plan());
        Self {
            format: FORMAT,
            service: service.to_owned(),
            port,
            proxy: proxy.to_owned(),
            policy: name.to_owned(),
            module: policy.module().digest().to_string(),
            config: settings.config.clone(),
            fuel: settings.fuel,
            memory_bytes: settings.memory_bytes,
            grants: settings.grants.into(),
            keys: plan.keys.iter().map(ToString::to_string).collect(),
            wants: plan.wants.iter().map(ToString::to_string).collect(),
            reasons: plan.reasons.clone(),
        }
    }
}

impl Then {
    /// Leaves the tag out.
    pub(crate) fn forget_tag(&mut self) {
        if let Self::Endpoint { tag, .. } = self {
            *tag = 0;
        }
    }

    /// Whether the same happens to the request, for whatever reason.
    pub(crate) fn is_same_for_the_request(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Endpoint { index, .. }, Self::Endpoint { index: other, .. }) => index == other,
            (Self::Reject(status, _), Self::Reject(other, _)) => status == other,
            (Self::Hold(ms, _), Self::Hold(other, _)) => ms == other,
            // In both cases the built-in policy answers.
            (Self::Fallback(_) | Self::Fault(_), Self::Fallback(_) | Self::Fault(_)) => true,
            _ => false,
        }
    }

    /// What came of a pick.
    pub fn of(result: &Result<host::Decision, host::Fault>) -> Self {
        let decision = match result {
            Ok(decision) => decision,
            Err(fault) => return Self::Fault(fault.reason().to_owned()),
        };
        let host::Decision { choice, alternate, reason, tag } = *decision;
        match choice {
            host::Choice::Endpoint(index) => Self::Endpoint { index, alternate, reason, tag },
            host::Choice::Fallback => Self::Fallback(reason),
            host::Choice::Reject(status) => Self::Reject(status, reason),
            host::Choice::Hold(ms) => Self::Hold(ms, reason),
        }
    }
}

impl Pick {
    /// A pick of an instance with so many keys in its plan.
    pub(crate) fn of(instance: u64, request: &host::Request, keys: usize) -> Self {
        let host::Traits { http, grpc, tls } = request.traits;
        let key = |at: usize| (request.keys.present & 1 << at != 0).then(|| request.keys.hashes[at]);
        let traits = [(http, Trait::Http), (grpc, Trait::Grpc), (tls, Trait::Tls)];
        Self {
            instance,
            random: request.random,
            now_ms: request.now_ms,
            keys: (0..keys.min(host::MAX_KEYS)).map(key).collect(),
            attempt: request.attempt,
            avoid: request.avoid,
            traits: traits.into_iter().filter_map(|(has, name)| has.then_some(name)).collect(),
            deadline_ms: None,
            had_strings: false,
            answers: Vec::new(),
            then: Then::Fallback(0),
        }
    }

    /// What it was given, with its keys in this order: the places that they have in the recording's plan.
    pub(crate) fn request(&self, order: &[Option<usize>]) -> host::Request {
        let mut keys = host::Keys::default();
        for (at, from) in order.iter().enumerate().take(host::MAX_KEYS) {
            if let Some(hash) = from.and_then(|from| *self.keys.get(from)?) {
                keys.hashes[at] = hash;
                keys.present |= 1 << at;
            }
        }
        let has = |name| self.traits.contains(&name);
        let traits = host::Traits { http: has(Trait::Http), grpc: has(Trait::Grpc), tls: has(Trait::Tls) };
        let Self { random, now_ms, attempt, avoid, .. } = *self;
        host::Request { keys, random, now_ms, attempt, avoid, traits }
    }
}

impl Reported {
    /// A report to an instance.
    pub(crate) fn of(instance: u64, report: &host::Report) -> Self {
        let host::Report { endpoint_id, tag, first_byte_us, total_us, status, outcome, now_ms } = *report;
        let host::Outcome { transport_error, server_error, timeout, cancelled, streamed } = outcome;
        let all = [
            (transport_error, Outcome::TransportError),
            (server_error, Outcome::ServerError),
            (timeout, Outcome::Timeout),
            (cancelled, Outcome::Cancelled),
            (streamed, Outcome::Streamed),
        ];
        let outcome = all.into_iter().filter_map(|(is, name)| is.then_some(name)).collect();
        Self { instance, endpoint_id, tag, first_byte_us, total_us, status, outcome, now_ms, answers: Vec::new() }
    }

    /// What was told.
    pub(crate) fn report(&self) -> host::Report {
        let is = |name| self.outcome.contains(&name);
        let outcome = host::Outcome {
            transport_error: is(Outcome::TransportError),
            server_error: is(Outcome::ServerError),
            timeout: is(Outcome::Timeout),
            cancelled: is(Outcome::Cancelled),
            streamed: is(Outcome::Streamed),
        };
        let Self { endpoint_id, tag, first_byte_us, total_us, status, now_ms, .. } = *self;
        host::Report { endpoint_id, tag, first_byte_us, total_us, status, outcome, now_ms }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero_64(number: &u64) -> bool {
    *number == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

//! What a pick is asked about, and how it is answered.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    fault::Fault,
    plan::{Keys, Word},
    settings::Grants,
};

/// The longest that a request may be held at once.
const MAX_HOLD_MS: u32 = 1000;

/// What a request offers to keys and strings.
pub trait RequestSource {
    /// The bytes that a word names, as they are in the request; `None` if there is nothing by that name. Never asked
    /// for [`Word::Json`], which the host finds in [`RequestSource::body`] itself.
    fn value(&self, word: &Word) -> Option<Cow<'_, [u8]>>;

    /// The beginning of the body, [`crate::Plan::body_prefix`] bytes or all there is; more is cut.
    fn body(&self) -> Bytes;

    /// What is left for this request in milliseconds; [`u32::MAX`] if nothing limits it.
    fn deadline_ms(&self) -> u32;
}

/// A request that offers nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSource;

impl RequestSource for NoSource {
    fn value(&self, _: &Word) -> Option<Cow<'_, [u8]>> {
        None
    }

    fn body(&self) -> Bytes {
        Bytes::new()
    }

    fn deadline_ms(&self) -> u32 {
        u32::MAX
    }
}

/// What a pick is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// From [`crate::Plan::keys`].
    pub keys: Keys,
    /// 64 random bits, fresh for each pick.
    pub random: u64,
    /// Now in milliseconds, on the clock of [`crate::Instance::update`].
    pub now_ms: u64,
    /// 0, then one more for each retry and for each time it was held.
    pub attempt: u32,
    /// Index of the endpoint on which this request has just failed.
    pub avoid: Option<u32>,
    /// What kind of request it is.
    pub traits: Traits,
}

/// What kind of request it is. That it is a retry follows from [`Request::attempt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// HTTP, gRPC included.
    pub http: bool,
    /// gRPC.
    pub grpc: bool,
    /// The client speaks TLS.
    pub tls: bool,
}

impl Request {
    /// The flags `traits` of the contract: bits 0 to 3 are the keys, then retry, http, grpc, tls.
    pub(crate) fn flags(&self) -> u8 {
        let Traits { http, grpc, tls } = self.traits;
        self.keys.present & 0b1111
            | u8::from(self.attempt > 0) << 4
            | u8::from(http) << 5
            | u8::from(grpc) << 6
            | u8::from(tls) << 7
    }
}

/// The answer of a pick, checked: an endpoint is one of the list, and what the policy may not do is a fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Who takes the request.
    pub choice: Choice,
    /// The endpoint to try next if no connection to the chosen one can be made; an index of the list.
    pub alternate: Option<u32>,
    /// Why, as the policy said it: see [`crate::Plan::reason`], which has no name for one that was not declared.
    pub reason: u32,
    /// Comes back in [`Report::tag`].
    pub tag: u64,
}

/// A decision as the guest gave it: plain numbers, some of which may have no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RawDecision {
    /// Which case of `choice`.
    pub(crate) case: u8,
    /// An index, a status or milliseconds.
    pub(crate) value: u32,
    /// 1 if there is one.
    pub(crate) alternate_case: u8,
    pub(crate) alternate: u32,
    pub(crate) reason: u32,
    pub(crate) tag: u64,
}

/// The cases of `choice`, in the contract's order.
pub(crate) const ENDPOINT: u8 = 0;
pub(crate) const FALLBACK: u8 = 1;
pub(crate) const REJECT: u8 = 2;
pub(crate) const HOLD: u8 = 3;

impl RawDecision {
    /// Holds an answer to what has a meaning, to the list's length and to what was granted.
    #[inline]
    pub(crate) fn check(&self, len: u32, grants: Grants) -> Result<Decision, Fault> {
        let Self { case, value, alternate_case, alternate, reason, tag } = *self;
        let choice = match case {
            ENDPOINT if value < len => Choice::Endpoint(value),
            FALLBACK => Choice::Fallback,
            REJECT if grants.reject && (400..600).contains(&value) => Choice::Reject(value as u16),
            HOLD if grants.hold => Choice::Hold(value.clamp(1, MAX_HOLD_MS)),
            REJECT if (400..600).contains(&value) => Choice::Fallback,
            HOLD => Choice::Fallback,
            _ => return Err(self.fault(len)),
        };
        let alternate = match alternate_case {
            0 => None,
            1 => Some(alternate).filter(|index| *index < len),
            _ => return Err(self.fault(len)),
        };
        Ok(Decision { choice, alternate, reason, tag })
    }

    /// What is wrong with one that does not stand.
    #[cold]
    fn fault(&self, len: u32) -> Fault {
        let Self { case, value, alternate_case, .. } = *self;
        let what = match (case, alternate_case) {
            (ENDPOINT, 0 | 1) => return Fault::BadIndex { index: value, len: len as usize },
            (REJECT, 0 | 1) => format!("reject({value}): expected 400 to 599"),
            (ENDPOINT..=HOLD, _) => format!("case {alternate_case} of an option"),
            _ => format!("case {case} of choice"),
        };
        Fault::BadDecision { what }
    }
}

/// Who takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The endpoint at this index of the last update.
    Endpoint(u32),
    /// Whoever the built-in policy chooses.
    Fallback,
    /// Nobody: answer with this HTTP status, 400 to 599.
    Reject(u16),
    /// Nobody yet: ask again in so many milliseconds, 1 to 1000.
    Hold(u32),
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Identity of the endpoint that it went to.
    pub endpoint_id: u64,
    /// [`Decision::tag`]; 0 where the built-in policy chose.
    pub tag: u64,
    /// Microseconds to the response headers, for TCP to the connection; 0 if it did not get there.
    pub first_byte_us: u32,
    /// Microseconds to the end.
    pub total_us: u32,
    /// The HTTP status, or 1000 plus the gRPC status; 0 if there was none.
    pub status: u32,
    /// What went wrong.
    pub outcome: Outcome,
    /// When it ended, on the clock of [`Request::now_ms`].
    pub now_ms: u64,
}

/// What went wrong; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// No connection, or it broke.
    pub transport_error: bool,
    /// The answer says that the server failed.
    pub server_error: bool,
    /// It took longer than was allowed.
    pub timeout: bool,
    /// The client went away first.
    pub cancelled: bool,
    /// The answer was a stream: [`Report::total_us`] is its lifetime, not its cost.
    pub streamed: bool,
}

impl Outcome {
    /// The flags `outcome` of the contract.
    pub(crate) fn flags(self) -> u8 {
        let Self { transport_error, server_error, timeout, cancelled, streamed } = self;
        [transport_error, server_error, timeout, cancelled, streamed]
            .into_iter()
            .enumerate()
            .fold(0, |flags, (bit, set)| flags | u8::from(set) << bit)
    }
}

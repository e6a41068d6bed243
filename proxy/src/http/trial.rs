//! When a request may be sent again, and what is said of one that nobody has answered.

use std::io;

use super::answer::{ErrorReason, Failure};
use crate::worker::{Attempts, NoMore, Pick};

/// Why an attempt gave no response.
pub enum Lost {
    /// The endpoint cannot be reached; no byte was written.
    Unreachable,
    /// The system had no socket for it.
    NoSocket,
    /// The connection turned out to be closed; no byte was written. If it has been used before, the endpoint is not to
    /// blame.
    Closed {
        /// The connection had been used before.
        reused: bool,
    },
    /// The endpoint has said that it has not looked at the request.
    Unprocessed(Cause),
    /// The connection broke before an answer; the endpoint may have seen the request.
    Broken {
        /// How.
        error: Cause,
        /// The connection had been used before.
        reused: bool,
    },
}

/// What ended a connection.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// What the HTTP library says.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// What the system says.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The endpoint.
    #[error("connection closed before message completed")]
    Closed,
    /// What it said.
    #[error("what it said is no HTTP")]
    NoHttp,
}

/// The attempts at one request.
#[derive(Default)]
pub struct Trial {
    fresh_only: bool,
    has_no_socket: bool,
    last: Option<Cause>,
}

impl Lost {
    /// Whether it says something of the endpoint, and not of a connection that was kept too long.
    fn is_the_endpoints_doing(&self) -> bool {
        match self {
            Self::Unreachable => true,
            Self::Closed { reused } | Self::Broken { reused, .. } => !reused,
            Self::NoSocket | Self::Unprocessed(_) => false,
        }
    }
}

impl Trial {
    /// Whether connections that have been kept are of no use for it.
    pub fn fresh_only(&self) -> bool {
        self.fresh_only
    }

    /// An attempt has failed. Says whether there may be another; then `attempts` knows where not.
    pub fn lost(&mut self, attempts: &mut Attempts<'_>, pick: &Pick, lost: Lost, is_idempotent: bool) -> bool {
        pick.lost(lost.is_the_endpoints_doing());
        match lost {
            Lost::Unreachable => attempts.unconnected(pick),
            Lost::NoSocket => {
                // There is none for another endpoint either.
                self.has_no_socket = true;
                return false;
            }
            Lost::Closed { reused } => {
                self.fresh_only = true;
                if reused {
                    attempts.again(pick);
                } else {
                    attempts.avoid(pick);
                }
            }
            Lost::Unprocessed(error) => {
                // A limit of its streams, or a restart.
                attempts.avoid(pick);
                self.last = Some(error);
            }
            Lost::Broken { error, reused } => {
                self.last = Some(error);
                if !is_idempotent {
                    return false;
                }
                // A kept connection that breaks says nothing of the endpoint.
                if reused {
                    self.fresh_only = true;
                    attempts.again(pick);
                } else {
                    attempts.exclude(pick);
                }
            }
        }
        true
    }

    /// Whether no endpoint has got any of it.
    pub fn has_reached_nobody(&self) -> bool {
        self.last.is_none()
    }

    /// Why the request could not be answered.
    pub fn failure(self, no_more: NoMore, attempts: &Attempts<'_>) -> Failure {
        match (no_more, self.last) {
            (NoMore::Rejected(status), _) => Failure::rejected_by_policy(status),
            (NoMore::PolicyFailed, _) => Failure::policy_failed(),
            (NoMore::Exhausted, Some(error)) => Failure::from_endpoint(error),
            (NoMore::Exhausted, None) if self.has_no_socket => {
                Failure::new(ErrorReason::ConnectFailed, "no socket could be had: raise the limit of open files")
            }
            (NoMore::Exhausted, None) if attempts.made() == 0 => {
                Failure::new(ErrorReason::NoEndpoints, "no endpoint can be chosen")
            }
            (NoMore::Exhausted, None) => {
                let (tried, all) = (attempts.made(), attempts.cell().len());
                let detail = format!("none of {all} endpoints could be reached, after {tried} attempts");
                Failure::new(ErrorReason::ConnectFailed, detail)
            }
        }
    }
}

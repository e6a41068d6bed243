//! What is said of a policy, in the words of Gateway API's policy attachment.

use serde::Serialize;

/// One thing that is so, or is not, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// Whether it is so.
    pub status: bool,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for people: what is wrong and what to do about it. Empty while all is well.
    pub message: String,
}

/// Why a condition is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// It holds.
    Accepted,
    /// A field has a value that it cannot have.
    Invalid,
    /// The Service or port is not there, or is not balanced.
    TargetNotFound,
    /// Clients of the Service choose among its pods themselves.
    HeadlessService,
    /// Others govern all of it.
    Conflicted,
    /// Whatever is referred to was found.
    ResolvedRefs,
    /// What is referred to is not there or cannot be read.
    RefNotFound,
    /// What is referred to is there, but is no policy, or not the one meant.
    InvalidRef,
    /// This kind of source is not available.
    UnsupportedRef,
    /// The administrator does not allow it.
    RefNotPermitted,
    /// It is being fetched for the first time.
    Pending,
    /// It could not be fetched.
    FetchFailed,
    /// The candidate is on trial.
    OnTrial,
    /// The candidate has been taken back.
    Aborted,
}

impl Reason {
    /// The word as it is written in a status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Invalid => "Invalid",
            Self::TargetNotFound => "TargetNotFound",
            Self::HeadlessService => "HeadlessService",
            Self::Conflicted => "Conflicted",
            Self::ResolvedRefs => "ResolvedRefs",
            Self::RefNotFound => "RefNotFound",
            Self::InvalidRef => "InvalidRef",
            Self::UnsupportedRef => "UnsupportedRef",
            Self::RefNotPermitted => "RefNotPermitted",
            Self::Pending => "Pending",
            Self::FetchFailed => "FetchFailed",
            Self::OnTrial => "OnTrial",
            Self::Aborted => "Aborted",
        }
    }
}

impl Condition {
    /// It is so.
    pub(super) fn good(reason: Reason) -> Self {
        Self { status: true, reason, message: String::new() }
    }

    /// It is not.
    pub(super) fn bad(reason: Reason, message: impl Into<String>) -> Self {
        Self { status: false, reason, message: message.into() }
    }
}

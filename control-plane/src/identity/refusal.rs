//! Every way to be turned away.

use std::net::IpAddr;

use tonic::{Code, Status};

use super::AUDIENCE;

/// Why a caller is turned away. The text is for those who run the proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token.
    #[error(
        "no token came with the call: start the proxy with --token FILE, a projected ServiceAccount token of audience {AUDIENCE}"
    )]
    Missing,
    /// Something that is no token of a ServiceAccount.
    #[error("what came as a token is none of a ServiceAccount: {0}")]
    Malformed(&'static str),
    /// A token for somebody else to accept.
    #[error("the token is for audience {0}, not {AUDIENCE}: project one with `audience: {AUDIENCE}` into the pod")]
    Audience(String),
    /// A token that is not a pod's.
    #[error(
        "the token is not bound to a pod, so it says of nobody where they are: project it into the pod as a volume"
    )]
    Unbound,
    /// A token that was good once.
    #[error(
        "the token has expired: the proxy reads its file (--token) anew for each call, so the file must be kept fresh"
    )]
    Expired,
    /// A token that the API server does not vouch for.
    #[error("the API server does not accept the token: {0}")]
    NotAccepted(String),
    /// A good token of another pod.
    #[error(
        "the proxy says that it is {claimed}, its token is of {actual}: start it with its own pod's name and namespace"
    )]
    OtherPod {
        /// Who it says it is.
        claimed: String,
        /// Whose token it has.
        actual: String,
    },
    /// Too many bad tokens from there. The caller is to come again.
    #[error(
        "too many tokens that the API server does not accept have come from {0}, it is asked about few of them for a while: find \
         out who sends them, and come again"
    )]
    Throttled(IpAddr),
    /// Nobody can say at the moment. The caller is to come again.
    #[error("the token cannot be checked now, come again: {0}")]
    Unavailable(String),
}

impl Refusal {
    /// As it is counted.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "no-token",
            Self::Malformed(_) => "malformed",
            Self::Audience(_) => "audience",
            Self::Unbound => "unbound",
            Self::Expired => "expired",
            Self::NotAccepted(_) => "not-accepted",
            Self::OtherPod { .. } => "other-pod",
            Self::Throttled(_) => "throttled",
            Self::Unavailable(_) => "unavailable",
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Missing | Self::Malformed(_) | Self::Audience(_) | Self::Expired | Self::NotAccepted(_) => {
                Code::Unauthenticated
            }
            Self::Unbound | Self::OtherPod { .. } => Code::PermissionDenied,
            Self::Throttled(_) | Self::Unavailable(_) => Code::Unavailable,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

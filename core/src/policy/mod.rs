//! The built-in balancing policies: which of the candidates takes a request.
//!
//! They serve where no policy of the user's own is set, and take over when one fails. [`Balancer`] is the whole
//! interface: it is made once for each list of candidates and answers picks from then on, without allocating.
//!
//! | choose | when |
//! |---|---|
//! | [`BuiltinPolicy::LeastRequest`] | nothing special is known: follows slow and overloaded endpoints by itself |
//! | [`BuiltinPolicy::PeakEwma`] | latencies differ between endpoints, such as across zones |
//! | [`BuiltinPolicy::RoundRobin`] | requests cost the same and an even count matters |
//! | [`BuiltinPolicy::Random`] | as above, with many small clients |
//! | [`BuiltinPolicy::RingHash`] | a key should stay on its endpoint, such as for caches |
//! | [`BuiltinPolicy::Maglev`] | the same, spread more evenly; a few more keys move when the list changes |

mod balancer;
mod draw;
mod identity;
mod least_request;
mod maglev;
mod members;
mod peak_ewma;
mod port_policy;
pub mod quarantine;
mod ring_hash;
mod round_robin;
#[cfg(test)]
mod test_support;

use std::{fmt, str::FromStr};

pub use balancer::{Balancer, PickRequest};
pub use members::Candidate;
pub use port_policy::{
    Allowed, InvalidDigest, ModuleDigest, OnFailure, PortPolicy, Trial, TrialMode, WasmPolicy, WasmProgram,
};

/// The built-in policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BuiltinPolicy {
    /// Each in turn.
    RoundRobin,
    /// By chance.
    Random,
    /// Of two chosen by chance, the one with fewer requests under way.
    #[default]
    LeastRequest,
    /// Of two chosen by chance, the one that is expected to answer sooner.
    PeakEwma,
    /// By the request's key, on a hash ring.
    RingHash,
    /// By the request's key, in a Maglev table.
    Maglev,
}

/// A text that names no built-in policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a built-in policy: expected {}", expected_names())]
pub struct UnknownPolicy {
    text: String,
}

impl BuiltinPolicy {
    /// Every policy.
    pub const ALL: [Self; 6] =
        [Self::RoundRobin, Self::Random, Self::LeastRequest, Self::PeakEwma, Self::RingHash, Self::Maglev];

    /// Its name in annotations, metrics and on the command line. Part of the version of a Service: never change one.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::LeastRequest => "least-request",
            Self::PeakEwma => "peak-ewma",
            Self::RingHash => "ring-hash",
            Self::Maglev => "maglev",
        }
    }

    /// Its name in a `LoadBalancingPolicy` object.
    pub fn kind(self) -> &'static str {
        match self {
            Self::RoundRobin => "RoundRobin",
            Self::Random => "Random",
            Self::LeastRequest => "LeastRequest",
            Self::PeakEwma => "PeakEWMA",
            Self::RingHash => "RingHash",
            Self::Maglev => "Maglev",
        }
    }
}

impl FromStr for BuiltinPolicy {
    type Err = UnknownPolicy;

    /// Accepts both spellings, [`BuiltinPolicy::name`] and [`BuiltinPolicy::kind`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text || policy.kind() == text);
        found.ok_or_else(|| UnknownPolicy { text: text.to_owned() })
    }
}

impl fmt::Display for BuiltinPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

fn expected_names() -> String {
    let names = BuiltinPolicy::ALL.map(|policy| format!("{} ({})", policy.name(), policy.kind()));
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        for policy in BuiltinPolicy::ALL {
            assert_eq!(policy.name().parse(), Ok(policy));
            assert_eq!(policy.kind().parse(), Ok(policy));
            assert_eq!(policy.to_string(), policy.name());
        }
        assert_eq!("PeakEWMA".parse(), Ok(BuiltinPolicy::PeakEwma));
        assert_eq!(BuiltinPolicy::default().name(), "least-request");
    }

    #[test]
    fn an_unknown_name_is_told_the_valid_ones() {
        for text in ["", "Least-Request", "peakewma", "least_request", " random"] {
            let message = text.parse::<BuiltinPolicy>().unwrap_err().to_string();
            for policy in BuiltinPolicy::ALL {
                assert!(message.contains(policy.name()) && message.contains(policy.kind()), "{message}");
            }
        }
    }
}

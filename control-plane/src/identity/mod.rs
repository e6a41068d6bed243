//! Who a proxy is.
//!
//! In a cluster each call of a proxy carries the ServiceAccount token of its pod, which the API server vouches for
//! ([`TokenChecker`]). What follows from that, its namespace, pod, node and zone, is taken from there whatever the proxy
//! claims: nobody gets another pod's view of the mesh by asking for it. [`pod`] and [`claims`] read what a review and a token
//! say, [`cache`] remembers it, [`sources`] whence bad ones come, all of it pure; [`review`] asks the API server; [`refusal`] is every way to be turned away.
//!
//! With a folder as source there is nobody to ask, and a proxy is who it says it is.

mod cache;
mod checker;
mod claims;
pub mod events;
mod pod;
mod refusal;
mod review;
mod sources;

use std::{net::SocketAddr, sync::Arc};

use tonic::metadata::MetadataMap;
use wasmesh_proto::wire;

pub use cache::{FRESH_FOR, KEPT_FOR};
pub use checker::{KNOWN_WITHIN, TokenChecker};
pub use pod::PodIdentity;
pub use refusal::Refusal;
pub use review::{KubernetesReviewer, Reviewer, Unavailable};

/// What a token must have been made for.
pub const AUDIENCE: &str = "wasmesh";

/// Says who calls.
#[derive(Clone)]
pub enum Authenticator {
    /// Whoever comes is who they say they are.
    Open,
    /// Whoever comes shows a token.
    Tokens(Arc<TokenChecker>),
}

/// Who has made a call.
#[derive(Debug, Clone)]
pub enum Identity {
    /// Whoever it says it is.
    Claimed,
    /// This pod.
    Pod(Arc<PodIdentity>),
}

impl Identity {
    /// The node of the caller, if that is known from somebody else than the caller itself.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::Claimed => None,
            Self::Pod(pod) => pod.node.as_deref(),
        }
    }
}

impl Authenticator {
    /// Who makes this call.
    ///
    /// # Errors
    /// When the caller is to be turned away; it has been counted and logged.
    pub async fn identify(&self, metadata: &MetadataMap, from: Option<SocketAddr>) -> Result<Identity, Refusal> {
        match self {
            Self::Open => Ok(Identity::Claimed),
            Self::Tokens(checker) => checker.identify(metadata, from).await.map(Identity::Pod),
        }
    }

    /// Where a caller stands, whatever it claims.
    ///
    /// # Errors
    /// When it claims to be another pod than it is; it has been counted and logged.
    pub fn place(
        &self,
        identity: &Identity,
        claimed: wire::Node,
        zone_of_node: impl FnOnce(&str) -> Option<String>,
    ) -> Result<wire::Node, Refusal> {
        match (self, identity) {
            (Self::Open, _) | (_, Identity::Claimed) => Ok(claimed),
            (Self::Tokens(checker), Identity::Pod(pod)) => checker.place(pod, claimed, zone_of_node),
        }
    }
}

//! Asks the API server about a token.

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus},
    core::v1::Pod,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::{AUDIENCE, PodIdentity};
use crate::kubernetes::explain;

/// Nobody can say at the moment, and this is why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Who vouches for tokens.
#[tonic::async_trait]
pub trait Reviewer: Send + Sync {
    /// What is to be said of a token.
    async fn review(&self, token: &str) -> Result<TokenReviewStatus, Unavailable>;

    /// The node of a pod; `None` if there is no such pod or it has none.
    async fn node_of(&self, pod: &PodIdentity) -> Result<Option<String>, Unavailable>;
}

/// The API server.
pub struct KubernetesReviewer {
    client: Client,
}

impl KubernetesReviewer {
    /// Asks over this client, which may create TokenReviews and get pods.
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

#[tonic::async_trait]
impl Reviewer for KubernetesReviewer {
    async fn review(&self, token: &str) -> Result<TokenReviewStatus, Unavailable> {
        let spec = TokenReviewSpec { audiences: Some(vec![AUDIENCE.to_owned()]), token: Some(token.to_owned()) };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let reviews = Api::<TokenReview>::all(self.client.clone());
        let reviewed = reviews.create(&PostParams::default(), &review).await.map_err(|error| failed(&error))?;
        reviewed
            .status
            .ok_or_else(|| Unavailable("the API server has answered a TokenReview without a status".to_owned()))
    }

    async fn node_of(&self, pod: &PodIdentity) -> Result<Option<String>, Unavailable> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), &pod.namespace);
        let found = pods.get_opt(&pod.name).await.map_err(|error| failed(&error))?;
        let same = found.filter(|found| found.metadata.uid.as_deref() == Some(pod.uid.as_str()));
        Ok(same.and_then(|found| found.spec?.node_name))
    }
}

/// Whatever the API server answers but a review, says nothing of the token.
fn failed(error: &kube::Error) -> Unavailable {
    Unavailable(explain(error))
}

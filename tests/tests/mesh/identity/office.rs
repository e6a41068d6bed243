//! Somebody who issues tokens and vouches for them, as the API server does.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::authentication::v1::TokenReviewStatus;
use serde_json::{Value, json};
use wasmesh_control_plane::identity::{PodIdentity, Reviewer, Unavailable};

/// Issues tokens.
#[derive(Default)]
pub(super) struct Office {
    /// What it vouches for, by token.
    good: Mutex<HashMap<String, Value>>,
    is_down: AtomicBool,
    reviews: AtomicUsize,
}

impl Office {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A token of a pod.
    pub(super) fn issue(&self, namespace: &str, pod: &str, node: &str) -> String {
        let uid = format!("uid-of-{pod}");
        let mut good = self.good.lock().unwrap();
        let payload = json!({
            "aud": ["wasmesh"], "exp": 9_999_999_999_u64, "jti": good.len(),
            "kubernetes.io": { "namespace": namespace, "pod": { "name": pod, "uid": uid } },
        });
        let token = format!("e30.{}.c2lnbmVk", URL_SAFE_NO_PAD.encode(payload.to_string()));
        let status = json!({ "authenticated": true, "audiences": ["wasmesh"], "user": {
            "username": format!("system:serviceaccount:{namespace}:default"),
            "extra": {
                "authentication.kubernetes.io/pod-name": [pod],
                "authentication.kubernetes.io/pod-uid": [uid],
                "authentication.kubernetes.io/node-name": [node],
            },
        }});
        good.insert(token.clone(), status);
        token
    }

    /// From now on it knows nothing of any token.
    pub(super) fn revoke_all(&self) {
        self.good.lock().unwrap().values_mut().for_each(|status| *status = json!({ "error": "the pod is gone" }));
    }

    /// Whether it answers at all.
    pub(super) fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::Relaxed);
    }

    /// How often it was asked.
    pub(super) fn reviews(&self) -> usize {
        self.reviews.load(Ordering::Relaxed)
    }
}

#[tonic::async_trait]
impl Reviewer for Office {
    async fn review(&self, token: &str) -> Result<TokenReviewStatus, Unavailable> {
        self.reviews.fetch_add(1, Ordering::Relaxed);
        if self.is_down.load(Ordering::Relaxed) {
            return Err(Unavailable("connection refused".to_owned()));
        }
        let unknown = || json!({ "error": "invalid bearer token" });
        let status = self.good.lock().unwrap().get(token).cloned().unwrap_or_else(unknown);
        Ok(serde_json::from_value(status).unwrap())
    }

    async fn node_of(&self, _: &PodIdentity) -> Result<Option<String>, Unavailable> {
        Ok(None)
    }
}

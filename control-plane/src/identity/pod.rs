//! What a TokenReview says. Pure.

use std::fmt;

use k8s_openapi::api::authentication::v1::{TokenReviewStatus, UserInfo};

use super::{AUDIENCE, Refusal};

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";

/// A pod, as the API server vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodIdentity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Tells it from others that have had the name.
    pub uid: String,
    /// Its ServiceAccount.
    pub service_account: String,
    /// Its node. Tokens tell it from Kubernetes 1.32 on; before, the pod does.
    pub node: Option<String>,
}

impl PodIdentity {
    /// Whom a review has found.
    ///
    /// # Errors
    /// When it has found nobody, or nobody who is a pod.
    pub fn of(status: &TokenReviewStatus) -> Result<Self, Refusal> {
        if status.authenticated != Some(true) {
            let why = status.error.as_deref().unwrap_or("it gives no reason");
            return Err(Refusal::NotAccepted(why.to_owned()));
        }
        // An API server that does not know audiences leaves them out, and has checked another one.
        let audiences = status.audiences.as_deref().unwrap_or_default();
        if !audiences.iter().any(|audience| audience == AUDIENCE) {
            return Err(Refusal::Audience(audiences.join(", ")));
        }
        let user = status.user.as_ref().ok_or_else(|| Refusal::NotAccepted("it names no user".to_owned()))?;
        let username = user.username.as_deref().unwrap_or_default();
        let account = username.strip_prefix(SERVICE_ACCOUNT).and_then(|account| account.split_once(':'));
        let (namespace, service_account) = account.ok_or(Refusal::Unbound)?;
        Ok(Self {
            namespace: namespace.to_owned(),
            service_account: service_account.to_owned(),
            name: extra(user, POD_NAME).ok_or(Refusal::Unbound)?,
            uid: extra(user, POD_UID).ok_or(Refusal::Unbound)?,
            node: extra(user, NODE_NAME),
        })
    }
}

impl fmt::Display for PodIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn extra(user: &UserInfo, key: &str) -> Option<String> {
    user.extra.as_ref()?.get(key)?.first().filter(|value| !value.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: Value) -> Result<PodIdentity, &'static str> {
        let status: TokenReviewStatus = serde_json::from_value(status).unwrap();
        PodIdentity::of(&status).map_err(|refusal| refusal.reason())
    }

    fn accepted() -> Value {
        json!({ "authenticated": true, "audiences": ["wasmesh"], "user": {
            "username": "system:serviceaccount:shop:web",
            "extra": { POD_NAME: ["web-1"], POD_UID: ["u"], NODE_NAME: ["node-1"] },
        }})
    }

    #[test]
    fn a_pod_is_who_the_api_server_says() {
        let pod = of(accepted()).unwrap();
        assert_eq!((pod.to_string().as_str(), pod.node.as_deref()), ("shop/web-1", Some("node-1")));
        let mut old = accepted();
        old["user"]["extra"].as_object_mut().unwrap().remove(NODE_NAME);
        assert_eq!(of(old).unwrap().node, None);
    }

    #[test]
    fn whoever_is_no_pod_is_turned_away() {
        let check = |pointer: &str, value: Value, reason| {
            let mut status = accepted();
            *status.pointer_mut(pointer).unwrap() = value;
            assert_eq!(of(status), Err(reason), "{pointer}");
        };
        check("/authenticated", json!(false), "not-accepted");
        check("/audiences", json!([]), "audience");
        check("/audiences", json!(["https://kubernetes.default.svc"]), "audience");
        check("/user", Value::Null, "not-accepted");
        check("/user/username", json!("kubernetes-admin"), "unbound");
        check("/user/username", json!("system:serviceaccount:shop"), "unbound");
        check("/user/extra", json!({}), "unbound");
        check("/user/extra", json!({ POD_NAME: [], POD_UID: ["u"] }), "unbound");
        assert_eq!(of(json!({})), Err("not-accepted"));
    }
}

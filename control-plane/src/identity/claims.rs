//! What a token says of itself, before anybody has vouched for it.
//!
//! Nothing is granted because of it. It saves the API server a question whose answer is known, gives a name to whoever is
//! turned away, and tells until when an answer may be remembered: of a token that has been vouched for, it is true.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{AUDIENCE, Refusal};

/// More than any token of a ServiceAccount has.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// More than any UID has.
const MAX_UID_BYTES: usize = 64;

/// What is read of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claims {
    /// The pod that it names, `namespace/name`.
    pub(super) pod: String,
    /// The pod's UID; empty if it names none that could be one.
    pub(super) uid: String,
    /// From when on it is worth nothing.
    pub(super) expires: SystemTime,
}

#[derive(Deserialize)]
struct Payload {
    exp: u64,
    aud: Audiences,
    #[serde(rename = "kubernetes.io")]
    bound: Option<Bound>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    pod: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    uid: String,
}

impl Claims {
    /// Reads a token.
    ///
    /// # Errors
    /// When it is none, or one that cannot be accepted whoever vouches for it.
    pub(super) fn read(token: &str) -> Result<Self, Refusal> {
        let payload = payload(token).map_err(Refusal::Malformed)?;
        let audiences = match payload.aud {
            Audiences::One(audience) => vec![audience],
            Audiences::Many(audiences) => audiences,
        };
        if !audiences.iter().any(|audience| audience == AUDIENCE) {
            return Err(Refusal::Audience(shown(&audiences.join(", "))));
        }
        let bound = payload.bound.ok_or(Refusal::Malformed("it has no claim kubernetes.io"))?;
        let Named { name: pod, mut uid } = bound.pod.ok_or(Refusal::Unbound)?;
        if uid.len() > MAX_UID_BYTES {
            uid.clear();
        }
        if ![&bound.namespace, &pod].into_iter().all(|name| is_name(name)) {
            return Err(Refusal::Malformed("it names a pod as no pod is named"));
        }
        // Far beyond what any clock will show.
        let expires = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(payload.exp.min(1 << 40)));
        let expires = expires.ok_or(Refusal::Malformed("it expires at no time"))?;
        Ok(Self { pod: format!("{}/{pod}", bound.namespace), uid, expires })
    }
}

fn payload(token: &str) -> Result<Payload, &'static str> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err("it is too long");
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("it does not have three parts");
    };
    let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| "its second part is not base64url")?;
    serde_json::from_slice(&json).map_err(|_| "its second part is not the claims of a token")
}

fn is_name(text: &str) -> bool {
    let is_allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// What somebody else has written, fit to be logged.
fn shown(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl fmt::Display for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pod)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A token that nobody has signed.
    pub(in crate::identity) fn unsigned(payload: &Value) -> String {
        format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    /// What the API server writes into a pod's token.
    pub(in crate::identity) fn payload_of(pod: &str, expires: u64) -> Value {
        json!({
            "aud": ["wasmesh"], "exp": expires, "iat": 1, "iss": "https://kubernetes.default.svc",
            "kubernetes.io": {
                "namespace": "shop", "node": { "name": "node-1", "uid": "n" },
                "pod": { "name": pod, "uid": format!("uid-of-{pod}") }, "serviceaccount": { "name": "web", "uid": "s" },
                "warnafter": 2,
            },
            "sub": "system:serviceaccount:shop:web",
        })
    }

    fn without(key: &str) -> Value {
        let mut payload = payload_of("web-1", 10);
        payload.as_object_mut().unwrap().remove(key);
        payload
    }

    fn with(key: &str, value: Value) -> Value {
        let mut payload = payload_of("web-1", 10);
        payload[key] = value;
        payload
    }

    #[test]
    fn a_pods_token_names_it_and_its_end() {
        let expected = Claims {
            pod: "shop/web-1".to_owned(),
            uid: "uid-of-web-1".to_owned(),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(10),
        };
        assert_eq!(Claims::read(&unsigned(&payload_of("web-1", 10))), Ok(expected.clone()));
        assert_eq!(Claims::read(&unsigned(&with("aud", json!("wasmesh")))), Ok(expected));
        assert!(Claims::read(&unsigned(&with("exp", json!(u64::MAX)))).is_ok());
    }

    #[test]
    fn what_no_one_could_accept_is_turned_away_at_once() {
        let check = |token: &str, reason: &str| {
            let refusal = Claims::read(token).unwrap_err();
            assert_eq!(refusal.reason(), reason, "{token}: {refusal}");
        };
        for token in ["", "..", "a.b", "a.b.c.d", "a.!.c", "a.e30.c", "a.bnVsbA.c", &"x".repeat(20_000)] {
            check(token, "malformed");
        }
        for payload in [without("aud"), without("exp"), without("kubernetes.io"), with("exp", json!(-1))] {
            check(&unsigned(&payload), "malformed");
        }
        check(&unsigned(&with("aud", json!(["api", "vault\n"]))), "audience");
        check(&unsigned(&with("aud", json!([]))), "audience");
        check(&unsigned(&with("kubernetes.io", json!({ "namespace": "shop" }))), "unbound");
        check(&unsigned(&payload_of("../x\n", 10)), "malformed");
        check(&unsigned(&payload_of("", 10)), "malformed");
    }
}

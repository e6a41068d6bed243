//! AdmissionReviews: what is asked, and how it is answered. Pure; any bytes come in.

use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wasmesh_injection::Patch;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// How much of what was sent an error shows.
const MAX_SHOWN: usize = 100;

/// What the API server asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Names the question; the answer carries it.
    pub uid: String,
    /// Where the pod is to be.
    pub namespace: String,
    /// Whether nothing comes of it.
    pub dry_run: bool,
    /// What is to be made: a pod, or something that we did not ask to be asked about.
    pub subject: Subject,
}

/// What a question is about.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A pod that is to be made.
    Pod(Value),
    /// Anything else; what, in words.
    Other(String),
}

/// Why bytes are no question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoQuestion {
    /// No JSON, or JSON of another shape.
    #[error("expected an {KIND} of {API_VERSION} as JSON: {0}")]
    Malformed(String),
    /// An object of another kind or version.
    #[error("expected an {KIND} of {API_VERSION}, found {kind:?} of {version:?}")]
    OtherKind {
        /// Its kind.
        kind: String,
        /// Its version.
        version: String,
    },
    /// No namespace can be called that.
    #[error("the pod is for a namespace that cannot be: {0:?}")]
    NoNamespace(String),
    /// A review that asks nothing: an answer, perhaps.
    #[error("the {KIND} has no request with a uid")]
    NoRequest,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// What makes the pod another one.
    pub patch: Option<Patch>,
    /// Why it must not be made.
    pub refusal: Option<String>,
    /// What whoever makes it is told.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: Kind,
    #[serde(default)]
    sub_resource: Option<String>,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    dry_run: Option<bool>,
    #[serde(default)]
    object: Value,
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

/// Reads a question.
///
/// # Errors
/// When there is none in these bytes.
pub fn read(bytes: &[u8]) -> Result<Question, NoQuestion> {
    let malformed = |error: serde_json::Error| NoQuestion::Malformed(error.to_string());
    let review: Review = serde_json::from_slice(bytes).map_err(malformed)?;
    if (review.kind.as_str(), review.api_version.as_str()) != (KIND, API_VERSION) {
        return Err(NoQuestion::OtherKind { kind: shown(review.kind), version: shown(review.api_version) });
    }
    let request: Request = match review.request {
        None | Some(Value::Null) => return Err(NoQuestion::NoRequest),
        Some(request) => serde_json::from_value(request).map_err(malformed)?,
    };
    if request.uid.is_empty() {
        return Err(NoQuestion::NoRequest);
    }
    let Kind { group, version, kind } = &request.kind;
    let sub_resource = request.sub_resource.filter(|name| !name.is_empty());
    let is_pod = (group.as_str(), version.as_str(), kind.as_str()) == ("", "v1", "Pod");
    let subject = if is_pod && sub_resource.is_none() && request.operation == "CREATE" {
        // It becomes part of URLs, and whoever asks may be a stranger.
        if !is_namespace(&request.namespace) {
            return Err(NoQuestion::NoNamespace(shown(request.namespace)));
        }
        Subject::Pod(request.object)
    } else {
        let of = sub_resource.map(|name| format!(" of subresource {name}")).unwrap_or_default();
        Subject::Other(shown(format!("{}{of} for {kind} of {group}/{version}", request.operation)))
    };
    let dry_run = request.dry_run.unwrap_or(false);
    Ok(Question { uid: request.uid, namespace: request.namespace, dry_run, subject })
}

/// Writes the answer to the question of this name.
#[must_use]
pub fn write(uid: &str, answer: &Answer) -> Value {
    let mut response = json!({ "uid": uid, "allowed": answer.refusal.is_none() });
    if let Some(why) = &answer.refusal {
        response["status"] = json!({ "code": 403, "reason": "Forbidden", "message": why });
    }
    if let Some(patch) = answer.patch.as_ref().filter(|_| answer.refusal.is_none()) {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = base64(patch);
    }
    if !answer.warnings.is_empty() {
        response["warnings"] = json!(answer.warnings);
    }
    json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response })
}

/// Bytes in JSON are base64, in Kubernetes.
fn base64(patch: &impl Serialize) -> Value {
    let bytes = serde_json::to_vec(patch).unwrap_or_default();
    serde_json::to_value(ByteString(bytes)).unwrap_or_default()
}

/// Whether a namespace may be called that: a DNS label.
fn is_namespace(name: &str) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=63).contains(&name.len())
        && name.as_bytes().iter().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn shown(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Answer, NoQuestion, Question, Subject, read, write};

    fn review(request: &Value) -> Vec<u8> {
        let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request });
        review.to_string().into_bytes()
    }

    fn request() -> Value {
        json!({
            "uid": "u1",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "namespace": "shop",
            "operation": "CREATE",
            "object": { "spec": {} },
        })
    }

    #[test]
    fn a_pod_that_is_to_be_made_is_a_question() {
        let expected = Question {
            uid: "u1".to_owned(),
            namespace: "shop".to_owned(),
            dry_run: false,
            subject: Subject::Pod(json!({ "spec": {} })),
        };
        assert_eq!(read(&review(&request())), Ok(expected));
    }

    #[test]
    fn other_things_are_questions_about_other_things() {
        let changes: [fn(&mut Value); 5] = [
            |request| request["operation"] = json!("DELETE"),
            |request| request["subResource"] = json!("status"),
            |request| request["kind"]["kind"] = json!("Service"),
            |request| request["kind"]["group"] = json!("example.org"),
            |request| request["kind"]["kind"] = json!("x".repeat(1000)),
        ];
        for change in changes {
            let mut request = request();
            change(&mut request);
            let subject = read(&review(&request)).unwrap().subject;
            assert!(matches!(&subject, Subject::Other(what) if what.len() < 200), "{subject:?}");
        }
    }

    #[test]
    fn a_pod_is_for_a_namespace() {
        let long = "x".repeat(64);
        for name in ["", "a/b", "kube-system/secrets", "..", "-a", "a-", "A", "a?b", "ä", long.as_str()] {
            let mut request = request();
            request["namespace"] = json!(name);
            assert!(matches!(read(&review(&request)), Err(NoQuestion::NoNamespace(_))), "{name:?}");
        }
    }

    #[test]
    fn anything_else_is_no_question() {
        let v1beta1 = br#"{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}}"#;
        let cases: [(&[u8], &str); 10] = [
            (b"", "expected an AdmissionReview"),
            (b"hello", "expected an AdmissionReview"),
            (b"[]", "expected an AdmissionReview"),
            (b"null", "expected an AdmissionReview"),
            (b"{}", "found \"\" of \"\""),
            (br#"{"kind": "Pod", "apiVersion": "v1"}"#, "found \"Pod\" of \"v1\""),
            (v1beta1, "v1beta1"),
            (&review(&Value::Null), "no request"),
            (&review(&json!({ "uid": "", "kind": {} })), "no request"),
            (&review(&json!({ "uid": 7 })), "expected an AdmissionReview"),
        ];
        for (bytes, expected) in cases {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
        assert_eq!(read(&review(&Value::Null)), Err(NoQuestion::NoRequest));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_review_that_is_cut_off_is_no_question(kept in 0..150_usize) {
            let whole = review(&request());
            proptest::prop_assert!(read(&whole[..kept.min(whole.len() - 1)]).is_err());
        }
    }

    #[test]
    fn an_answer_is_what_kubernetes_expects() {
        let expected =
            |response| json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
        assert_eq!(write("u1", &Answer::default()), expected(json!({ "uid": "u1", "allowed": true })));
        let patched =
            Answer { patch: Some(wasmesh_injection::Patch::default()), warnings: vec!["w".into()], refusal: None };
        let response =
            json!({ "uid": "u1", "allowed": true, "patchType": "JSONPatch", "patch": "W10=", "warnings": ["w"] });
        assert_eq!(write("u1", &patched), expected(response));
        let refused = Answer { refusal: Some("no".into()), ..patched };
        let status = json!({ "code": 403, "reason": "Forbidden", "message": "no" });
        let response = json!({ "uid": "u1", "allowed": false, "status": status, "warnings": ["w"] });
        assert_eq!(write("u1", &refused), expected(response));
    }
}

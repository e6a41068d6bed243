//! Answers that the proxy gives itself. Each says so in the `wasmesh-error` header, so that nobody takes them for the
//! application's own.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::{connection::is_stream_reset, fields::Fields, response_body::ResponseBody, trial::Cause};

/// Names the reason of an answer that the proxy gave itself.
const ERROR_HEADER: HeaderName = HeaderName::from_static("wasmesh-error");

/// Why the proxy answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorReason {
    /// The request does not say where it should go.
    BadRequest,
    /// The Service has no endpoint for this client.
    NoEndpoints,
    /// The endpoints of the Service have not come yet.
    EndpointsPending,
    /// No endpoint could be connected to.
    ConnectFailed,
    /// The endpoint closed or broke the connection before it answered.
    Upstream,
    /// A host that is not the mesh's could not be reached.
    PassthroughFailed,
    /// The destination is the proxy itself.
    Loop,
    /// More than the proxy is allowed to do at once.
    Overload,
    /// The policy of the Service wants it answered so.
    PolicyRejected(StatusCode),
    /// The policy of the Service has failed, and must not be bypassed.
    PolicyFailed,
}

/// A request that the proxy could not have answered by an endpoint.
#[derive(Debug)]
pub struct Failure {
    reason: ErrorReason,
    detail: String,
    /// What broke, for clients that can be told by a reset.
    cause: Option<hyper::Error>,
}

impl Failure {
    /// `detail` tells a person what happened.
    pub fn new(reason: ErrorReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), cause: None }
    }

    /// One request too many.
    pub fn overload() -> Self {
        Self::new(ErrorReason::Overload, "too many requests in flight (--max-requests)")
    }

    /// An endpoint broke off.
    pub(super) fn from_endpoint(error: Cause) -> Self {
        let detail = format!("the endpoint broke the connection before it answered: {error}");
        let cause = if let Cause::Http(error) = error { Some(error) } else { None };
        Self { reason: ErrorReason::Upstream, detail, cause }
    }

    /// The policy wants it refused.
    pub(super) fn rejected_by_policy(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Self::new(ErrorReason::PolicyRejected(status), "the policy of this service rejects the request")
    }

    /// The policy has failed and must not be bypassed.
    pub(super) fn policy_failed() -> Self {
        Self::new(ErrorReason::PolicyFailed, "the policy of this service has failed (failurePolicy: Refuse)")
    }

    /// An endpoint broke off in the middle of its response.
    pub(super) fn in_response(error: &hyper::Error) -> Self {
        Self::new(
            ErrorReason::Upstream,
            format!("the endpoint broke the connection before its response ended: {error}"),
        )
    }

    /// Why.
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// What happened, for a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// What a client that speaks plain HTTP is told.
    pub fn text(&self) -> String {
        format!("wasmesh: {}: {}\n", self.reason.as_str(), self.detail)
    }

    /// The stream reset that an endpoint has answered with, to be passed on as it is.
    pub(super) fn into_reset(self) -> Result<hyper::Error, Self> {
        match self.cause {
            Some(error) if is_stream_reset(&error) => Ok(error),
            cause => Err(Self { cause, ..self }),
        }
    }
}

impl ErrorReason {
    /// Whether no endpoint has heard of the request.
    pub fn is_for_want_of_endpoints(self) -> bool {
        matches!(self, Self::NoEndpoints | Self::ConnectFailed)
    }

    /// The value of the header and of the metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::NoEndpoints => "no-endpoints",
            Self::EndpointsPending => "endpoints-pending",
            Self::ConnectFailed => "connect-failed",
            Self::Upstream => "upstream",
            Self::PassthroughFailed => "passthrough-failed",
            Self::Loop => "loop",
            Self::Overload => "overload",
            Self::PolicyRejected(_) => "policy-rejected",
            Self::PolicyFailed => "policy-failed",
        }
    }

    /// The status it is answered with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoEndpoints | Self::EndpointsPending | Self::ConnectFailed | Self::Overload | Self::PolicyFailed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::PolicyRejected(status) => status,
            Self::Upstream | Self::PassthroughFailed => StatusCode::BAD_GATEWAY,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }
}

/// How a client wants to be told of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// By a status.
    Http,
    /// By trailers: a gRPC library makes of any other status than 200 what it likes.
    Grpc,
}

impl Dialect {
    /// What a message with these headers speaks.
    pub(super) fn of(headers: &impl Fields) -> Self {
        let is_grpc = |kind: &[u8]| kind.starts_with(b"application/grpc");
        if headers.first(CONTENT_TYPE.as_str()).is_some_and(is_grpc) { Self::Grpc } else { Self::Http }
    }

    /// The answer to a request that failed.
    pub(super) fn answer(self, failure: &Failure) -> Response<ResponseBody> {
        let mut response = match self {
            Self::Http => http_answer(failure),
            Self::Grpc => grpc_answer(failure),
        };
        response.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(failure.reason.as_str()));
        response
    }
}

fn http_answer(failure: &Failure) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Own(Full::new(Bytes::from(failure.text()))));
    *response.status_mut() = failure.reason.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn grpc_answer(failure: &Failure) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::empty());
    *response.headers_mut() = grpc_status(failure);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// What a gRPC call ends with: UNAVAILABLE, so a client may try again, unless a policy wants something else.
pub(super) fn grpc_status(failure: &Failure) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from_static(grpc_code(failure.reason)));
    let message = format!("wasmesh: {}: {}", failure.reason.as_str(), failure.detail);
    // Percent-encoding is only for what is no printable ASCII, and the texts here are.
    if let Ok(message) = HeaderValue::from_str(&message.replace('%', "%25")) {
        headers.insert("grpc-message", message);
    }
    headers
}

/// The status of gRPC that stands for an answer, for a policy's by gRPC's own mapping of HTTP statuses (grpc/grpc,
/// "HTTP to gRPC Status Code Mapping"), except that 429 is told as what it means.
fn grpc_code(reason: ErrorReason) -> &'static str {
    let ErrorReason::PolicyRejected(status) = reason else { return "14" };
    match status.as_u16() {
        400 => "13",
        401 => "16",
        403 => "7",
        404 => "12",
        429 => "8",
        502..=504 => "14",
        _ => "2",
    }
}

//! Answers that the proxy gives itself. Each says so in the `wasmesh-error` header, so that nobody takes them for the
//! application's own.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use super::response_body::ResponseBody;

/// Names the reason of an answer that the proxy gave itself.
pub(super) const ERROR_HEADER: HeaderName = HeaderName::from_static("wasmesh-error");

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
}

impl ErrorReason {
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
        }
    }

    /// The status it is answered with.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoEndpoints | Self::EndpointsPending | Self::ConnectFailed => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream | Self::PassthroughFailed => StatusCode::BAD_GATEWAY,
            Self::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// The answer; `detail` tells a person what happened.
    pub fn answer(self, detail: &str) -> Response<ResponseBody> {
        let text = format!("wasmesh: {}: {detail}\n", self.as_str());
        let mut response = Response::new(ResponseBody::Own(Full::new(Bytes::from(text))));
        *response.status_mut() = self.status();
        response.headers_mut().insert(ERROR_HEADER, HeaderValue::from_static(self.as_str()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

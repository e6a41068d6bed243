//! HTTP/1.1: every request is routed, balanced and forwarded by itself; bodies stream both ways.

mod answer;
mod exchange;
mod forward;
pub mod headers;
mod pool;
mod proxy_request;
mod request_body;
mod response_body;
mod serve;
mod upgrade;

pub use answer::ErrorReason;
pub use pool::Pool;
pub use response_body::ResponseBody;
pub use serve::{serve_captured, serve_proxy_client};

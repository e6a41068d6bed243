//! HTTP/1.1 and HTTP/2: every request is routed, balanced and forwarded by itself; bodies stream both ways.

mod activity;
mod answer;
mod connection;
mod exchange;
mod executor;
mod expect;
mod forward;
pub mod headers;
mod heard_out;
mod pool;
mod proxy_request;
mod request_body;
mod response_body;
mod route;
mod serve;
mod stream_limit;
mod upgrade;
mod version;

pub use answer::ErrorReason;
pub use pool::{Pool, keep};
pub use response_body::ResponseBody;
pub use serve::{serve_captured, serve_proxy_client};
pub use version::HttpVersion;

//! HTTP/1.1 and HTTP/2: every request is routed, balanced and forwarded by itself; bodies stream both ways.

mod activity;
mod answer;
mod connection;
mod cork;
mod exchange;
mod executor;
mod expect;
mod fields;
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
mod trial;
mod upgrade;
mod version;

pub use answer::{ErrorReason, Failure};
pub use exchange::{Exchange, Said};
pub use fields::Fields;
pub use pool::{Pool, keep};
pub use proxy_request::destination_of_absolute;
pub use response_body::ResponseBody;
pub use serve::{serve_captured, serve_proxy_client};
pub use trial::{Cause, Lost, Trial};
pub use version::HttpVersion;

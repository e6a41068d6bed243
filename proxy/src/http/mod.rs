//! HTTP/1.1 and HTTP/2: every request is routed, balanced and forwarded by itself; bodies stream both ways.

mod activity;
mod answer;
mod buffers;
mod connection;
mod cork;
mod exchange;
mod expect;
mod fields;
mod forward;
pub mod headers;
mod heard_out;
mod inflow;
mod outlet;
mod pool;
mod proxy_request;
mod replay_budget;
mod request_body;
mod response_body;
mod route;
mod serve;
mod stream_limit;
mod takebacks;
mod trial;
mod unread;
mod upgrade;
mod version;

pub use answer::{ErrorReason, Failure};
pub use buffers::Buffers;
pub use exchange::{Exchange, Said};
pub use fields::Fields;
pub use pool::{Pool, keep};
pub use proxy_request::destination_of_absolute;
pub use response_body::ResponseBody;
pub use serve::{serve_captured, serve_proxy_client};
pub use trial::{Cause, Lost, Trial};
pub use version::HttpVersion;

//! The API server, for whoever talks to it.

mod client;
pub mod follow;
mod service_ranges;

pub use self::{
    client::{Clients, connect, explain},
    service_ranges::service_ranges,
};

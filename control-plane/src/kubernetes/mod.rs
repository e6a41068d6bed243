//! The API server, for whoever talks to it.

mod client;
pub mod follow;
mod outage;
mod service_ranges;

pub use self::{
    client::{Clients, connect, explain},
    outage::Outage,
    service_ranges::service_ranges,
};

//! The API server, for whoever talks to it.

mod client;
mod service_ranges;

pub use self::{
    client::{Clients, connect, explain},
    service_ranges::service_ranges,
};

//! Whose pods passed-through connections reach.
//!
//! Under a network that balances inside of connect() no sidecar ever sees a ClusterIP: connections go to the addresses of pods,
//! are passed through, and no policy decides. That must show. Workers note where passed-through connections went; twice a
//! second at most the control plane is asked whose these addresses are, and the connections are counted for their Services.
//! Nothing of a connection waits for that.

mod book;
mod counts;
mod run;
mod sightings;

pub use counts::{PodConnections, Reached, Way};
pub use run::{Attribution, Told};
pub use sightings::Sightings;

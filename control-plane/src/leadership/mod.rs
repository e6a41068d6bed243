//! Which replica is the leader: the one that writes for all of them.
//!
//! Every replica serves proxies and pods alike; what must be written once, by one, is the leader's. The election is the one
//! that Kubernetes components hold among themselves: a Lease whose holder renews it, and that is anybody's once it has not been
//! renewed for a while. Nobody's clock is compared with another's: a replica waits for as long as it has *itself* seen the
//! Lease unchanged.

pub mod election;
mod term;

pub use term::campaign;

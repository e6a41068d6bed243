//! Capture: which of a pod's outbound connections are redirected to its proxy, as data, and that data as text for the
//! kernel's tools.
//!
//! [`Plan`] says what is wanted. It is rendered for `nft -f -` ([`Plan::nftables`]) or, where that is missing, for
//! `iptables-restore --noflush` ([`Plan::iptables`]). The same plan always gives the same text. Whoever runs the tools
//! is elsewhere; nothing here needs a privilege.
//!
//! [`RefuseSet`] is the part that changes while a pod runs: destinations whose connect() must fail at once. The proxy
//! knows them ([`refused_destinations`]) and the holder of CAP_NET_ADMIN puts them into the kernel; [`message`] is what
//! the two say to each other.

mod cidr;
mod iptables;
pub mod message;
mod nftables;
mod plan;
mod refuse;
mod resolvers;

pub use cidr::{Cidr, CidrSet, InvalidCidr};
pub use iptables::{IptablesTable, Jump, restore_text};
pub use plan::{InvalidPlan, Plan, PlanSpec, Tracking};
pub use refuse::{MAX_REFUSED, RefuseSet, refused_destinations};
pub use resolvers::resolvers;

/// What the table, and every chain of ours, is called.
pub const TABLE: &str = "wasmesh";

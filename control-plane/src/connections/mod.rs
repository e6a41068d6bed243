//! How many connections a port has at most, and whose has to go when there are more.
//!
//! Whoever can reach a port can hold connections open, so they are counted ([`table`], pure): in all, and from one address. One
//! that is being served keeps its place; the others give theirs up when they take too long over a question, when nothing has
//! come for long, or when somebody else needs it: first those of the address that has most of them, so that a stranger who opens
//! thousands costs himself his own. [`seats`] shares the table and counts, [`seated`] is a connection that ends when its place is
//! taken.

mod seated;
mod seats;
mod table;

pub use seated::Seated;
pub use seats::{Call, Seat, Seats, describe};
pub use table::Limits;

/// How often it is looked for connections that take too long.
pub const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

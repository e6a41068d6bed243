//! The common case of HTTP/1.1, at the price of its bytes: heads are judged and written anew, bodies pass by as they come.
//!
//! What is not plain (an upgrade, a body that is still on its way, a head that is odd in any respect) is left to
//! [`crate::http`] with all that has been read, and the connection stays there. So everything that this has to
//! understand is here, and everything else is refused by being handed on.
//!
//! Reading order: [`fields`] knows which header fields matter, [`request`] and [`answer`] judge heads, [`framing`] finds the end of
//! a body; all of them pure. [`reading`] takes what comes in, [`upstream`] is a connection to an endpoint, [`forward`] tries endpoints, [`serve`] is a client's
//! connection.

mod answer;
mod fields;
mod foreign;
mod forward;
mod framing;
mod reading;
mod request;
mod serve;
mod upstream;

pub(crate) use foreign::{answer as foreign_answer, request as foreign_request};
pub use forward::MAX_HEAD_BYTES;
pub use serve::{Front, serve};
pub use upstream::Upstream;

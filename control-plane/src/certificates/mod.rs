//! The mesh's own certificate authority and the certificate that the control plane serves with.
//!
//! Both live in the Secret `wasmesh-ca` of the control plane's namespace. Every replica serves from the same Secret, so it
//! does not matter which of them is asked, and it does not matter which of them renews: whoever writes first wins, the
//! others take what is there. [`judge`] (pure) says what a Secret is worth at a moment, [`issue`] makes what is missing,
//! [`keeper`] reads and writes, [`serving`] is what TLS servers use: a renewed certificate is in their next handshake.
//!
//! The CA lasts ten years. When a fifth of that is left, the next one is made and trusted beside it; when a twentieth is left, that
//! one signs. So a pod has a year and a half to be made anew before it would be cut off.
//!
//! The CA is kept whatever happens to the certificate, because every running sidecar trusts exactly the
//! one that was there when its pod was made. It is made anew only when it is unusable: damaged, expired, or deleted. Such
//! sidecars go on with what they know, and find the control plane again when their pods are replaced.

pub mod events;
pub mod issue;
pub mod judge;
pub mod keeper;
pub mod serving;

pub use issue::{Bundle, ServerNames};
pub use keeper::{Keeper, SECRET};
pub use serving::ServingCertificate;

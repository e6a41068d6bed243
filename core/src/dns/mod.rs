//! DNS for the names of the cluster: what the mesh itself can answer, from what it holds.
//!
//! The names are those of the Kubernetes DNS specification 1.1.0, with CoreDNS's reading where that leaves a choice:
//!
//! | name under `svc.CLUSTER-DOMAIN` | records |
//! |---|---|
//! | `SERVICE.NAMESPACE` | addresses of a ClusterIP Service, of all ready pods of a headless one, an alias for ExternalName |
//! | `HOSTNAME.SERVICE.NAMESPACE` | the pods of that hostname; those without are called by their address, with dashes |
//! | `_PORT._PROTOCOL.SERVICE.NAMESPACE` | SRV of a ClusterIP Service; of a headless one, one for each pod |
//! | `…in-addr.arpa`, `…ip6.arpa` | the Service that has the address, or the hostname of a pod that has one |
//!
//! A name that nothing is known of is [forwarded](Answer::Unknown): the cluster's own DNS may know Services that the mesh does not
//! serve, and a namespace that is empty.

mod hostname;
mod question;
mod record;
mod resolve;
mod reverse;

pub use question::{RecordType, Zone};
pub use record::{Data, Record};
pub use resolve::{Answer, Records};

/// How long an answer may be kept, in seconds: CoreDNS's default for the names of a cluster. Asking again costs a hop over loopback.
pub const TTL: u32 = 5;

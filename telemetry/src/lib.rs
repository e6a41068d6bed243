//! What every binary of the mesh needs at its edges: logs, metrics, the admin server, and how it starts and stops.
//!
//! Control plane and proxy never see each other; what both need to be operated lives here, and nothing else does. A
//! `main` reads:
//!
//! ```no_run
//! # use std::error::Error;
//! use tokio::net::TcpListener;
//! use wasmesh_telemetry::{Admin, Readiness, listening, logging, metrics, shutdown};
//!
//! # async fn main_body() -> Result<(), Box<dyn Error>> {
//! logging::init("info");
//! let metrics = metrics::install();
//! let stop = shutdown::signal()?;
//! let admin = TcpListener::bind("127.0.0.1:0").await?;
//! listening::announce("admin", admin.local_addr()?);
//! Admin::new(metrics, || Readiness::Ready)
//!     .page("/debug/snapshot", |_query| serde_json::json!({ "services": [] }))
//!     .serve(admin, stop)
//!     .await;
//! # Ok(()) }
//! ```

pub mod admin;
mod bind;
pub mod causes;
pub mod histogram;
pub mod listening;
pub mod logging;
pub mod metrics;
pub mod shutdown;

pub use admin::{Admin, Listing, Query, Readiness};
pub use bind::{bind, is_for_want_of_v6};
pub use causes::with_causes;
pub use histogram::{Histogram, Histograms};
pub use metrics::Metrics;

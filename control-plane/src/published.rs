//! What the publisher hands to the streams.

use std::{sync::Arc, time::Instant};

use tokio::sync::watch;
use wasmesh_core::{snapshot::Snapshot, version::Version};

/// Every Service at one moment, as it was handed to the streams.
pub struct Published {
    /// The content.
    pub snapshot: Snapshot,
    /// Names the content, the same on every replica that sees the same objects.
    pub version: Version,
    /// Counts what this replica has published; one more each time.
    pub sequence: u64,
    /// When.
    pub at: Instant,
}

/// `None` until the source has been read for the first time: a control plane that has not looked yet must not tell
/// anybody that there is nothing.
pub type Latest = watch::Receiver<Option<Arc<Published>>>;

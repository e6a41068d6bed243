//! Tells one content of a file from another without reading it.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    time::{Duration, SystemTime},
};

/// A file that changed so recently may change again without its stamp telling: file times have a coarse grain.
const GRAIN: Duration = Duration::from_secs(1);

/// Two equal ones are of the same content, if they are settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: FileId,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Device and inode.
pub(super) type FileId = (u64, u64);

pub(super) fn id_of(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            file: id_of(metadata),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether no later change can have the same stamp.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let grain_ago = since_epoch.saturating_sub(GRAIN).as_secs();
        i64::try_from(grain_ago).is_ok_and(|grain_ago| self.modified.0.max(self.changed.0) < grain_ago)
    }
}

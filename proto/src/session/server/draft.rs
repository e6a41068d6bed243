//! An update in the making, and its parts on the wire.

use std::collections::HashMap;

use bytes::Bytes;
use wasmesh_core::{checksum::HeldVersions, name::ServiceName};

use super::ledger::Ledger;
use crate::wire;

/// Items are put into one message until their bodies exceed this many bytes, so that no message comes near the 4 MiB
/// that gRPC implementations accept by default.
const PART_BYTES: usize = 1024 * 1024;

/// What the proxy holds of each Service in an update once it is applied; `None`: nothing any more.
pub(super) type Sent = HashMap<ServiceName, Option<HeldVersions>>;

#[derive(Default)]
pub(super) struct Draft {
    items: Vec<wire::Item>,
    removed: Vec<String>,
    absent: Vec<String>,
    sent: Sent,
}

impl Draft {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.removed.is_empty() && self.absent.is_empty()
    }

    /// The Service is gone.
    pub(super) fn remove(&mut self, name: &ServiceName) {
        self.removed.push(name.to_string());
        self.sent.insert(name.clone(), None);
    }

    /// The Service was asked for and does not exist.
    pub(super) fn absent(&mut self, name: &ServiceName) {
        self.absent.push(name.to_string());
    }

    /// The Service has changed; `body` leads to `after`.
    pub(super) fn put(&mut self, name: &ServiceName, after: HeldVersions, body: Bytes) {
        self.items.push(wire::Item {
            name: name.to_string(),
            entry_version: after.entry.0,
            endpoints_version: after.endpoints.map(|version| version.0),
            body,
        });
        self.sent.insert(name.clone(), Some(after));
    }

    /// The messages of the update, and what the proxy holds once it has applied them to what `ledger` says.
    pub(super) fn into_parts(self, nonce: u64, ledger: &Ledger) -> (Vec<wire::Update>, Sent) {
        let checksum = self.checksum(ledger);
        let mut parts = vec![wire::Update { nonce, removed: self.removed, absent: self.absent, ..Default::default() }];
        let mut bytes = 0;
        for item in self.items {
            let size = item.body.len() + item.name.len();
            if bytes > 0 && bytes + size > PART_BYTES {
                parts.push(wire::Update { nonce, ..Default::default() });
                bytes = 0;
            }
            bytes += size;
            if let Some(part) = parts.last_mut() {
                part.items.push(item);
            }
        }
        let last = parts.len() - 1;
        for part in &mut parts[..last] {
            part.more = true;
        }
        parts[last].checksum = checksum;
        (parts, self.sent)
    }

    fn checksum(&self, ledger: &Ledger) -> u64 {
        let mut checksums = ledger.checksums().clone();
        for (name, after) in &self.sent {
            if let Some(before) = ledger.held(name) {
                checksums.subtract(name, &before);
            }
            if let Some(after) = after {
                checksums.add(name, after);
            }
        }
        checksums.total()
    }
}

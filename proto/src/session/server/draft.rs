//! An update in the making, and its parts on the wire.

use std::collections::HashMap;

use bytes::Bytes;
use wasmesh_core::{checksum::HeldVersions, name::ServiceName};

use super::{super::ELEMENT_BYTES, ledger::Ledger};
use crate::wire;

/// Parts are filled up to this many bytes. Each stream encodes its own and each proxy decodes a part as a whole: with thousands
/// of the one and very little memory in the other, small ones are worth the messages.
const PART_BYTES: usize = 64 * 1024;

/// The Services in an update.
pub(super) type Sent = HashMap<ServiceName, Change>;

/// What an update makes of a Service.
#[derive(Clone, Copy)]
pub(super) struct Change {
    /// What the proxy holds of it afterwards; `None`: nothing any more.
    pub(super) after: Option<HeldVersions>,
    /// Endpoints are in the update; without them the proxy keeps those that it has.
    pub(super) carries_endpoints: bool,
}

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
        self.sent.insert(name.clone(), Change { after: None, carries_endpoints: false });
    }

    /// The Service was asked for and does not exist.
    pub(super) fn absent(&mut self, name: &ServiceName) {
        self.absent.push(name.to_string());
    }

    /// The Service has changed; `body` leads to `after`.
    pub(super) fn put(&mut self, name: &ServiceName, after: HeldVersions, carries_endpoints: bool, body: Bytes) {
        self.items.push(wire::Item {
            name: name.to_string(),
            entry_version: after.entry.0,
            endpoints_version: after.endpoints.map(|version| version.0),
            body,
        });
        self.sent.insert(name.clone(), Change { after: Some(after), carries_endpoints });
    }

    /// The messages of the update, and what the proxy holds once it has applied them to what `ledger` says.
    pub(super) fn into_parts(self, nonce: u64, ledger: &Ledger) -> (Vec<wire::Update>, Sent) {
        let checksum = self.checksum(ledger);
        let mut parts = Parts::new(nonce);
        for name in self.absent {
            parts.with_room_for(name.len()).absent.push(name);
        }
        for name in self.removed {
            parts.with_room_for(name.len()).removed.push(name);
        }
        for item in self.items {
            parts.with_room_for(item.body.len() + item.name.len()).items.push(item);
        }
        (parts.finish(checksum), self.sent)
    }

    fn checksum(&self, ledger: &Ledger) -> u64 {
        let mut checksums = ledger.checksums().clone();
        for (name, Change { after, .. }) in &self.sent {
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

/// The messages of an update, being filled.
struct Parts {
    nonce: u64,
    /// The parts that are full.
    parts: Vec<wire::Update>,
    last: wire::Update,
    bytes: usize,
}

impl Parts {
    fn new(nonce: u64) -> Self {
        Self { nonce, parts: Vec::new(), last: wire::Update { nonce, ..Default::default() }, bytes: 0 }
    }

    /// The part that the next element of so many bytes goes into.
    fn with_room_for(&mut self, bytes: usize) -> &mut wire::Update {
        let bytes = bytes + ELEMENT_BYTES;
        if self.bytes > 0 && self.bytes + bytes > PART_BYTES {
            let next = wire::Update { nonce: self.nonce, ..Default::default() };
            self.parts.push(wire::Update { more: true, ..std::mem::replace(&mut self.last, next) });
            self.bytes = 0;
        }
        self.bytes += bytes;
        &mut self.last
    }

    fn finish(mut self, checksum: u64) -> Vec<wire::Update> {
        self.parts.push(wire::Update { checksum, ..self.last });
        self.parts
    }
}

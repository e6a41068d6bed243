//! Values on their way into a guest: text, labels, endpoints.
//!
//! Every list and every string is a piece of memory of its own, because the guest frees each of them by itself.

use wasmtime::Store;

use super::{abi::Abi, address::AddressText};
use crate::{
    endpoints::{EndpointView, Health},
    state::State,
};

/// The size of a `label` and of an `endpoint` in memory.
const LABEL: usize = 16;
const ENDPOINT: usize = 64;

/// A writer into a guest's memory.
pub(super) struct Lower<'a> {
    store: &'a mut Store<State>,
    abi: &'a Abi,
}

impl<'a> Lower<'a> {
    pub(super) fn new(store: &'a mut Store<State>, abi: &'a Abi) -> Self {
        Self { store, abi }
    }

    /// A string: pointer and length.
    pub(super) fn text(&mut self, text: &str) -> wasmtime::Result<(u32, u32)> {
        self.abi.copy_in(self.store, text.as_bytes())
    }

    /// A `list<label>`.
    pub(super) fn labels(&mut self, labels: &[(&str, &str)]) -> wasmtime::Result<(u32, u32)> {
        let list = self.abi.allocate(self.store, 4, LABEL * labels.len())?;
        for (index, (name, value)) in labels.iter().enumerate() {
            let mut record = Record::<LABEL>::default();
            record.pair(0, self.text(name)?);
            record.pair(8, self.text(value)?);
            self.write(list + LABEL * index, &record.0);
        }
        Ok((list as u32, labels.len() as u32))
    }

    /// A `list<endpoint>`.
    pub(super) fn endpoints(&mut self, endpoints: &[EndpointView<'_>]) -> wasmtime::Result<(u32, u32)> {
        let list = self.abi.allocate(self.store, 8, ENDPOINT * endpoints.len())?;
        for (index, endpoint) in endpoints.iter().enumerate() {
            let record = self.endpoint(endpoint)?;
            self.write(list + ENDPOINT * index, &record.0);
        }
        Ok((list as u32, endpoints.len() as u32))
    }

    fn endpoint(&mut self, endpoint: &EndpointView<'_>) -> wasmtime::Result<Record<ENDPOINT>> {
        let mut record = Record::<ENDPOINT>::default();
        record.u64(0, endpoint.id);
        let address = AddressText::of(&endpoint.address);
        record.pair(8, self.abi.copy_in(self.store, address.as_bytes())?);
        record.u32(16, endpoint.weight.max(1));
        record.u32(20, endpoint.priority);
        record.pair(24, self.text(endpoint.zone)?);
        record.pair(32, self.text(endpoint.node)?);
        record.0[40] = match endpoint.health {
            Health::Healthy => 0,
            Health::Degraded => 1,
            Health::Draining => 2,
        };
        record.u64(48, endpoint.ready_ms);
        record.pair(56, self.labels(endpoint.labels)?);
        Ok(record)
    }

    /// Writes into memory that was allocated. The guest cannot have made it smaller.
    fn write(&mut self, at: usize, bytes: &[u8]) {
        if let Some(target) = self.abi.memory.data_mut(&mut *self.store).get_mut(at..at + bytes.len()) {
            target.copy_from_slice(bytes);
        }
    }
}

/// A record being made.
struct Record<const N: usize>([u8; N]);

impl<const N: usize> Default for Record<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Record<N> {
    fn u32(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, offset: usize, value: u64) {
        self.0[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    fn pair(&mut self, offset: usize, (pointer, len): (u32, u32)) {
        self.u32(offset, pointer);
        self.u32(offset + 4, len);
    }
}

//! Values on their way into a guest: text, labels, endpoints.
//!
//! Every list and every string is a piece of memory of its own, because the guest frees each of them by itself. Strings
//! wait until there is a batch of them, and are allocated together.

use wasmtime::{Store, TypedFunc};

use super::{abi::Abi, address::AddressText, rewrite::BATCH};
use crate::{
    endpoints::{EndpointView, Health},
    state::State,
};

/// The size of a `label` and of an `endpoint` in memory.
const LABEL: usize = 16;
const ENDPOINT: usize = 64;

/// As many numbers as are allocated together.
pub(super) type Batch = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

/// A writer into a guest's memory. What it has written is complete after [`Lower::finish`].
pub(super) struct Lower<'a, 'b> {
    store: &'a mut Store<State>,
    abi: &'a Abi,
    allocate: &'a TypedFunc<Batch, Batch>,
    waiting: [Waiting<'b>; BATCH],
    len: usize,
}

/// A string that has no memory yet.
#[derive(Default)]
struct Waiting<'b> {
    text: Text<'b>,
    /// Where its pointer and length go.
    slot: usize,
}

enum Text<'b> {
    Borrowed(&'b [u8]),
    Address(AddressText),
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl Text<'_> {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Address(address) => address.as_bytes(),
        }
    }
}

impl<'a, 'b> Lower<'a, 'b> {
    pub(super) fn new(store: &'a mut Store<State>, abi: &'a Abi, allocate: &'a TypedFunc<Batch, Batch>) -> Self {
        Self { store, abi, allocate, waiting: Default::default(), len: 0 }
    }

    /// A string at once: pointer and length.
    pub(super) fn text(&mut self, text: &str) -> wasmtime::Result<(u32, u32)> {
        self.abi.copy_in(self.store, text.as_bytes())
    }

    /// A `list<label>`.
    pub(super) fn labels(&mut self, labels: &[(&'b str, &'b str)]) -> wasmtime::Result<(u32, u32)> {
        let list = self.abi.allocate(self.store, 4, LABEL * labels.len())?;
        for (index, (name, value)) in labels.iter().enumerate() {
            let at = list + LABEL * index;
            self.later(Text::Borrowed(name.as_bytes()), at)?;
            self.later(Text::Borrowed(value.as_bytes()), at + 8)?;
        }
        Ok((list as u32, labels.len() as u32))
    }

    /// A `list<endpoint>`.
    pub(super) fn endpoints(mut self, endpoints: &[EndpointView<'b>]) -> wasmtime::Result<(u32, u32)> {
        let list = self.abi.allocate(self.store, 8, ENDPOINT * endpoints.len())?;
        for (index, endpoint) in endpoints.iter().enumerate() {
            self.endpoint(endpoint, list + ENDPOINT * index)?;
        }
        self.finish()?;
        Ok((list as u32, endpoints.len() as u32))
    }

    /// Gives memory to what still waits for it.
    pub(super) fn finish(&mut self) -> wasmtime::Result<()> {
        let waiting = &self.waiting[..self.len];
        let mut sizes = [0; BATCH];
        for (size, waiting) in sizes.iter_mut().zip(waiting) {
            *size = u32::try_from(waiting.text.as_bytes().len()).unwrap_or(u32::MAX);
        }
        let [a, b, c, d, e, f, g, h, i, j, k, l] = sizes;
        let (a, b, c, d, e, f, g, h, i, j, k, l) =
            self.allocate.call(&mut *self.store, (a, b, c, d, e, f, g, h, i, j, k, l))?;
        let pointers = [a, b, c, d, e, f, g, h, i, j, k, l];
        let memory = self.abi.memory.data_mut(&mut *self.store);
        for (waiting, (pointer, size)) in waiting.iter().zip(pointers.into_iter().zip(sizes)) {
            let bytes = waiting.text.as_bytes();
            super::abi::area(memory, pointer, 1, bytes.len())?.copy_from_slice(bytes);
            let mut pair = Record::<8>::default();
            pair.pair(0, (pointer, size));
            put(memory, waiting.slot, &pair.0);
        }
        self.len = 0;
        Ok(())
    }

    /// A string, its pointer and length at `slot`, some time before the end.
    fn later(&mut self, text: Text<'b>, slot: usize) -> wasmtime::Result<()> {
        self.waiting[self.len] = Waiting { text, slot };
        self.len += 1;
        if self.len == BATCH { self.finish() } else { Ok(()) }
    }

    fn endpoint(&mut self, endpoint: &EndpointView<'b>, at: usize) -> wasmtime::Result<()> {
        let mut record = Record::<ENDPOINT>::default();
        record.u64(0, endpoint.id);
        record.u32(16, endpoint.weight.max(1));
        record.u32(20, endpoint.priority);
        record.0[40] = match endpoint.health {
            Health::Healthy => 0,
            Health::Degraded => 1,
            Health::Draining => 2,
        };
        record.u64(48, endpoint.ready_ms);
        record.pair(56, self.labels(endpoint.labels)?);
        put(self.abi.memory.data_mut(&mut *self.store), at, &record.0);
        self.later(Text::Address(AddressText::of(&endpoint.address)), at + 8)?;
        self.later(Text::Borrowed(endpoint.zone.as_bytes()), at + 24)?;
        self.later(Text::Borrowed(endpoint.node.as_bytes()), at + 32)
    }
}

/// Writes into memory that was allocated. The guest cannot have made it smaller.
fn put(memory: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(target) = memory.get_mut(at..at + bytes.len()) {
        target.copy_from_slice(bytes);
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

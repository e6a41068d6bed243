//! The state of an instance: its memory and its globals.

use wasmtime::{Memory, Store, Val};

use super::DirectInstance;
use crate::state::State;

/// Memory is looked at and kept in pieces of this size, most of which hold nothing.
const PIECE: usize = 4096;
const NOTHING: [u8; PIECE] = [0; PIECE];

/// The state of one instance. Pieces of its memory that are all zero are left out.
pub(crate) struct DirectSnapshot {
    memory_bytes: usize,
    /// By ascending offset, each of [`PIECE`] bytes.
    pieces: Vec<(usize, Box<[u8]>)>,
    globals: Vec<Val>,
}

impl DirectInstance {
    /// Copies the state; `None` if that cannot be had.
    pub(crate) fn snapshot(&self, store: &mut Store<State>) -> Option<DirectSnapshot> {
        let globals = self.globals.as_ref()?.iter().map(|global| global.get(&mut *store)).collect();
        let memory = self.abi.memory.data(&*store);
        let pieces = used_pieces(memory).map(|(offset, piece)| (offset, piece.into())).collect();
        Some(DirectSnapshot { memory_bytes: memory.len(), pieces, globals })
    }

    /// Takes over the state of another instance of the same module.
    ///
    /// # Errors
    ///
    /// There is less memory to be had than the other one had.
    pub(crate) fn restore(&self, store: &mut Store<State>, snapshot: &DirectSnapshot) -> wasmtime::Result<()> {
        let globals = self.globals.iter().flatten();
        for (global, value) in globals.zip(&snapshot.globals) {
            global.set(&mut *store, *value)?;
        }
        let memory = self.abi.memory;
        grow(memory, store, snapshot.memory_bytes)?;
        let memory = memory.data_mut(store);
        let fresh = self.fresh_pieces(memory);
        // What a fresh instance brings along and the other one has cleared.
        let kept = |offset: &usize| snapshot.pieces.binary_search_by_key(offset, |(offset, _)| *offset).is_ok();
        for offset in fresh.iter().filter(|offset| !kept(offset)) {
            write(memory, *offset, &NOTHING);
        }
        for (offset, piece) in &snapshot.pieces {
            // A page that is not written to stays shared with all other instances, so what is the same is left alone. What
            // nobody has touched is not looked at first: the kernel would map a page of zeros for that, only to replace it
            // and to interrupt every other CPU about it.
            let is_there = fresh.binary_search(offset).is_ok() && memory.get(*offset..offset + PIECE) == Some(piece);
            if !is_there {
                write(memory, *offset, piece);
            }
        }
        Ok(())
    }

    /// Where the memory of a fresh instance is not zero. The same for every instance of a module, so only the first one is
    /// looked at: looking at a page that nobody has touched costs the kernel's help.
    fn fresh_pieces(&self, memory: &[u8]) -> &[usize] {
        self.fresh.get_or_init(|| used_pieces(memory).map(|(offset, _)| offset).collect())
    }
}

/// The pieces of a memory that are not all zero, by ascending offset.
fn used_pieces(memory: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let pieces = memory.chunks(PIECE).enumerate().map(|(index, piece)| (index * PIECE, piece));
    pieces.filter(|(_, piece)| *piece != &NOTHING[..piece.len()])
}

fn write(memory: &mut [u8], offset: usize, piece: &[u8]) {
    if let Some(target) = memory.get_mut(offset..offset + piece.len()) {
        target.copy_from_slice(piece);
    }
}

/// Memory never shrinks, and that of a fresh instance is as small as it gets.
fn grow(memory: Memory, store: &mut Store<State>, bytes: usize) -> wasmtime::Result<()> {
    let missing = bytes.saturating_sub(memory.data_size(&*store));
    if missing > 0 {
        let page = memory.page_size(&*store);
        memory.grow(store, (missing as u64).div_ceil(page))?;
    }
    Ok(())
}

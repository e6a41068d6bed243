//! The state of an instance: its memory and its globals.

use wasmtime::{Memory, Store, Val};

use super::DirectInstance;
use crate::state::State;

/// Memory is compared and kept in pieces of this size, most of which hold nothing.
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
        let pieces = memory.chunks(PIECE).enumerate().filter(|(_, piece)| *piece != &NOTHING[..piece.len()]);
        let pieces = pieces.map(|(index, piece)| (index * PIECE, piece.into())).collect();
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
        let mut kept = snapshot.pieces.iter().peekable();
        for (index, piece) in memory.data_mut(store).chunks_mut(PIECE).enumerate() {
            let wanted = kept.next_if(|(offset, _)| *offset == index * PIECE).map(|(_, piece)| &**piece);
            let wanted = wanted.unwrap_or(&NOTHING[..piece.len()]);
            // What is the same already is left alone: a page that is not written to costs no memory.
            if *piece != *wanted {
                piece.copy_from_slice(wanted);
            }
        }
        Ok(())
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

//! The canonical ABI, as far as the contract needs it: how values lie in a guest's memory.
//!
//! Every pointer and every length that comes from a guest is checked. What is out of bounds, misaligned or without a
//! meaning is a [`BadAnswer`].

use wasmtime::{AsContextMut, Error, Memory, Result, TypedFunc};

use crate::{
    fault::BadAnswer,
    plan::RawPlan,
    request::{REJECT, RawDecision},
    state::State,
    text,
};

/// The most strings of a list that are read; a plan is refused long before.
const MAX_LIST: u32 = 256;
/// The longest string that is read; whatever is longer is cut.
const MAX_STRING_BYTES: usize = 1024;

/// How the host reaches into a guest.
#[derive(Clone)]
pub(crate) struct Abi {
    pub(crate) memory: Memory,
    /// Old pointer, old size, alignment, new size.
    pub(crate) realloc: TypedFunc<(u32, u32, u32, u32), u32>,
}

impl Abi {
    /// Memory for the guest to own. Runs its allocator, but for nothing.
    pub(crate) fn allocate(
        &self,
        store: &mut impl AsContextMut<Data = State>,
        align: u32,
        size: usize,
    ) -> Result<usize> {
        if size == 0 {
            // Nobody frees what is empty; any pointer that is aligned and not null will do.
            return Ok(align as usize);
        }
        let new_size = u32::try_from(size).map_err(|_| bad(format!("{size} bytes do not fit into its memory")))?;
        let pointer = self.realloc.call(&mut *store, (0, 0, align, new_size))?;
        let end = (pointer as usize).checked_add(size);
        if !pointer.is_multiple_of(align) || end.is_none_or(|end| end > self.memory.data_size(&*store)) {
            return Err(bad(format!("its allocator answered {pointer:#x} for {size} bytes aligned to {align}")));
        }
        Ok(pointer as usize)
    }

    /// A copy of these bytes that the guest owns: its pointer and length.
    pub(crate) fn copy_in(&self, store: &mut impl AsContextMut<Data = State>, bytes: &[u8]) -> Result<(u32, u32)> {
        let pointer = self.allocate(store, 1, bytes.len())?;
        if let Some(target) = self.memory.data_mut(&mut *store).get_mut(pointer..pointer + bytes.len()) {
            target.copy_from_slice(bytes);
        }
        Ok((pointer as u32, bytes.len() as u32))
    }
}

/// An answer that cannot be read.
#[cold]
fn bad(what: String) -> Error {
    BadAnswer(what).into()
}

#[cold]
fn nowhere(pointer: u32, align: u32, size: usize) -> Error {
    bad(format!("{pointer:#x} is no place of {size} bytes aligned to {align}"))
}

/// Memory to write results into, at a place that the guest has chosen.
pub(crate) fn area(memory: &mut [u8], pointer: u32, align: u32, size: usize) -> Result<&mut [u8]> {
    let is_aligned = pointer.is_multiple_of(align);
    let area = memory.get_mut(pointer as usize..).and_then(|rest| rest.get_mut(..size)).filter(|_| is_aligned);
    area.ok_or_else(|| nowhere(pointer, align, size))
}

/// A value in a guest's memory.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    memory: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value at a pointer.
    #[inline]
    pub(crate) fn at(memory: &'a [u8], pointer: u32, align: u32, size: usize) -> Result<Self> {
        let bytes = memory.get(pointer as usize..).and_then(|rest| rest.get(..size));
        match bytes {
            Some(bytes) if pointer.is_multiple_of(align) => Ok(Self { memory, bytes }),
            _ => Err(nowhere(pointer, align, size)),
        }
    }

    /// Bytes of the value. The layouts below never go beyond the size that it was read with.
    #[inline]
    fn array<const N: usize>(self, offset: usize) -> [u8; N] {
        let mut array = [0; N];
        if let Some(bytes) = self.bytes.get(offset..offset + N) {
            array.copy_from_slice(bytes);
        }
        array
    }

    #[inline]
    fn u32(self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    #[inline]
    fn u8(self, offset: usize) -> u8 {
        let [byte] = self.array(offset);
        byte
    }

    /// Whether it is an `ok`.
    fn is_ok(self) -> Result<bool> {
        match self.u8(0) {
            0 => Ok(true),
            1 => Ok(false),
            case => Err(bad(format!("case {case} of a result"))),
        }
    }

    fn string(self, offset: usize) -> Result<&'a str> {
        string(self.memory, self.u32(offset), self.u32(offset + 4))
    }

    fn strings(self, offset: usize) -> Result<Vec<String>> {
        let [pointer, len] = [self.u32(offset), self.u32(offset + 4)];
        let list = Self::at(self.memory, pointer, 4, len as usize * 8)?;
        (0..len.min(MAX_LIST) as usize).map(|index| list.string(8 * index).map(str::to_owned)).collect()
    }
}

/// A string of the guest's, cut if it is long.
pub(crate) fn string(memory: &[u8], pointer: u32, len: u32) -> Result<&str> {
    let bytes = Value::at(memory, pointer, 1, len as usize)?.bytes;
    // Only what is wanted of it is looked at: it may be the whole memory.
    let begin = &bytes[..bytes.len().min(MAX_STRING_BYTES + 3)];
    let is_cut = begin.len() < bytes.len();
    match std::str::from_utf8(begin) {
        Ok(text) => Ok(text::cut(text, MAX_STRING_BYTES)),
        // The cut has split a character.
        Err(error) if is_cut && error.error_len().is_none() => {
            let whole = std::str::from_utf8(&begin[..error.valid_up_to()]).unwrap_or_default();
            Ok(text::cut(whole, MAX_STRING_BYTES))
        }
        Err(_) => Err(bad("a string that is not UTF-8".to_owned())),
    }
}

/// `result<plan, string>`.
pub(crate) fn init_answer(memory: &[u8], pointer: u32) -> Result<std::result::Result<RawPlan, String>> {
    let value = Value::at(memory, pointer, 4, 28)?;
    Ok(match value.is_ok()? {
        true => Ok(RawPlan { keys: value.strings(4)?, wants: value.strings(12)?, reasons: value.strings(20)? }),
        false => Err(value.string(4)?.to_owned()),
    })
}

/// `result<_, string>`.
pub(crate) fn update_answer(memory: &[u8], pointer: u32) -> Result<std::result::Result<(), String>> {
    let value = Value::at(memory, pointer, 4, 12)?;
    Ok(match value.is_ok()? {
        true => Ok(()),
        false => Err(value.string(4)?.to_owned()),
    })
}

/// `decision`, read part by part as wide as the guest has written it: the CPU waits for a store that a wider load covers.
#[inline]
pub(crate) fn decision(memory: &[u8], pointer: u32, decision: &mut RawDecision) -> Result<()> {
    let value = Value::at(memory, pointer, 8, 32)?;
    decision.case = value.u8(0);
    // Of a status there are two bytes; what follows them has no meaning.
    decision.value = if decision.case == REJECT { u32::from(u16::from_le_bytes(value.array(4))) } else { value.u32(4) };
    decision.alternate_case = value.u8(8);
    decision.alternate = value.u32(12);
    decision.reason = value.u32(16);
    decision.tag = u64::from_le_bytes(value.array(24));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(memory: &[u8], pointer: u32) -> Result<RawDecision> {
        let mut read = RawDecision::default();
        decision(memory, pointer, &mut read).map(|()| read)
    }

    #[test]
    fn a_decision_is_read() {
        let mut memory = vec![0_u8; 64];
        memory[8..40].copy_from_slice(&[
            0, 9, 9, 9, 7, 0, 0, 0, 1, 9, 9, 9, 2, 0, 0, 0, 3, 0, 0, 0, 9, 9, 9, 9, 4, 0, 0, 0, 0, 0, 0, 1,
        ]);
        let expected = RawDecision { case: 0, value: 7, alternate_case: 1, alternate: 2, reason: 3, tag: 4 | 1 << 56 };
        assert_eq!(read(&memory, 8).unwrap(), expected);
        memory[8] = REJECT;
        memory[14] = 9;
        assert_eq!(read(&memory, 8).unwrap(), RawDecision { case: REJECT, ..expected });
    }

    #[test]
    fn what_lies_nowhere_is_told() {
        let memory = vec![0_u8; 64];
        for pointer in [4, 40, u32::MAX - 7, u32::MAX] {
            assert!(read(&memory, pointer).unwrap_err().to_string().contains("is no place of 32 bytes"));
        }
    }

    /// A memory in which an answer of `init` at 0 has lists of `len` strings at 64, all of them at `text` with a length.
    fn plan(len: u32, text: u32, text_len: u32) -> Vec<u8> {
        let mut memory = vec![0_u8; 8192];
        for offset in [4, 12, 20] {
            memory[offset..offset + 4].copy_from_slice(&64_u32.to_le_bytes());
            memory[offset + 4..offset + 8].copy_from_slice(&len.to_le_bytes());
        }
        for index in 0..(len as usize).min(500) {
            let at = 64 + 8 * index;
            memory[at..at + 4].copy_from_slice(&text.to_le_bytes());
            memory[at + 4..at + 8].copy_from_slice(&text_len.to_le_bytes());
        }
        memory[5000..5004].copy_from_slice(b"path");
        memory
    }

    #[test]
    fn a_plan_is_read_and_lists_are_bounded() {
        let read = init_answer(&plan(2, 5000, 4), 0).unwrap().unwrap();
        assert_eq!(read.keys, ["path", "path"]);
        assert_eq!(read.reasons, read.wants);
        let read = init_answer(&plan(500, 4096, 4000), 0).unwrap().unwrap();
        assert_eq!((read.keys.len(), read.keys[0].len()), (MAX_LIST as usize, MAX_STRING_BYTES));
    }

    #[test]
    fn lists_and_strings_out_of_bounds_are_refused() {
        for memory in [plan(2, 5000, u32::MAX), plan(2, 8191, 2), plan(u32::MAX, 0, 0), plan(2000, 0, 0)] {
            assert!(init_answer(&memory, 0).is_err());
        }
        let mut memory = plan(1, 5000, 4);
        memory[5000] = 0xff;
        assert!(init_answer(&memory, 0).unwrap_err().to_string().contains("UTF-8"));
    }

    #[test]
    fn a_long_string_is_cut_between_characters() {
        let mut memory = "é".repeat(2000).into_bytes();
        assert_eq!(string(&memory, 0, 4000).unwrap().len(), MAX_STRING_BYTES);
        assert_eq!(string(&memory, 0, 4).unwrap(), "éé");
        assert!(string(&memory, 0, 3).is_err());
        memory.insert(0, b'x');
        assert_eq!(string(&memory, 0, 4001).unwrap().len(), MAX_STRING_BYTES - 1);
    }
}

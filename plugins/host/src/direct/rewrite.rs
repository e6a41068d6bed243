//! What the host adds to a guest's module before it is compiled: exports that make its whole state reachable, and a function
//! that allocates many pieces of memory at once, because calling a guest takes longer than what its allocator does.

use std::ops::Range;

use wasm_encoder::{BlockType, Encode, ExportKind, Function, Module, RawSection, ValType};
use wasmparser::{Parser, Payload};

/// Begins the names of what is added.
pub(crate) const PREFIX: &str = "wasmesh-host:";
/// Every mutable global is exported under this prefix and its number.
pub(crate) const GLOBAL_PREFIX: &str = "wasmesh-host:global:";
/// The memory is exported under this name where the state of an instance can be copied, and nowhere else.
pub(crate) const COPYABLE_MEMORY: &str = "wasmesh-host:copyable-memory";
/// Takes [`BATCH`] sizes and answers as many pointers to unaligned memory that the guest owns; 1 for a size of 0.
pub(crate) const ALLOCATE: &str = "wasmesh-host:allocate";
/// How many pieces of memory it allocates.
pub(crate) const BATCH: usize = 12;

/// What is to be added, and where.
pub(super) struct Additions {
    /// Number of `cabi_realloc`.
    pub(super) realloc: u32,
    /// How many types and functions there are.
    pub(super) types: u32,
    pub(super) functions: u32,
    /// Numbers of the mutable globals, if the state of an instance can be copied.
    pub(super) state: Option<Vec<u32>>,
}

/// The module with the additions.
pub(super) fn with(wasm: &[u8], additions: &Additions) -> wasmparser::Result<Vec<u8>> {
    let mut module = Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let Some((id, range)) = payload.as_section() else {
            continue;
        };
        let (count, added) = match &payload {
            Payload::TypeSection(_) => (1, allocate_type()),
            Payload::FunctionSection(_) => (1, encoded(additions.types)),
            Payload::ExportSection(_) => additions.exports(),
            Payload::CodeSectionStart { .. } => (1, additions.allocate()),
            // Names, producers and debug information are not run.
            Payload::CustomSection(_) => continue,
            _ => (0, Vec::new()),
        };
        let section = append(wasm, range, count, &added);
        module.section(&RawSection { id, data: &section });
    }
    Ok(module.finish())
}

impl Additions {
    fn exports(&self) -> (u32, Vec<u8>) {
        let mut exports = Vec::new();
        let mut add = |name: &str, kind: ExportKind, index: u32| {
            name.encode(&mut exports);
            kind.encode(&mut exports);
            index.encode(&mut exports);
        };
        add(ALLOCATE, ExportKind::Func, self.functions);
        let Some(globals) = &self.state else {
            return (1, exports);
        };
        add(COPYABLE_MEMORY, ExportKind::Memory, 0);
        for index in globals {
            add(&format!("{GLOBAL_PREFIX}{index}"), ExportKind::Global, *index);
        }
        (2 + globals.len() as u32, exports)
    }

    /// The body of the function that allocates.
    fn allocate(&self) -> Vec<u8> {
        let mut function = Function::new([]);
        let mut code = function.instructions();
        for size in 0..BATCH as u32 {
            code.local_get(size).if_(BlockType::Result(ValType::I32));
            code.i32_const(0).i32_const(0).i32_const(1).local_get(size).call(self.realloc);
            code.else_().i32_const(1).end();
        }
        code.end();
        encoded(function)
    }
}

/// The type of the function that allocates.
fn allocate_type() -> Vec<u8> {
    let mut types = wasm_encoder::TypeSection::new();
    let numbers = || [ValType::I32; BATCH];
    types.ty().function(numbers(), numbers());
    // A section is its size, how many there are, and what they are: the last is what is wanted.
    let section = encoded(types);
    section[number_len(&section)..][1..].to_vec()
}

/// A section with some entries more.
fn append(wasm: &[u8], range: Range<usize>, count: u32, added: &[u8]) -> Vec<u8> {
    let before = &wasm[range];
    if count == 0 {
        return before.to_vec();
    }
    let len = number_len(before);
    let mut section = encoded(number(&before[..len]) + count);
    section.extend_from_slice(&before[len..]);
    section.extend_from_slice(added);
    section
}

fn encoded(item: impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    item.encode(&mut bytes);
    bytes
}

/// How many bytes the number at the beginning has. It was read by the parser before, so it ends.
fn number_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| byte & 0x80 == 0).map_or(bytes.len(), |last| last + 1)
}

/// A number in LEB128, possibly written longer than it needs to be.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 7 | u32::from(byte & 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_any_length() {
        for (bytes, expected) in
            [(&[0_u8][..], 0), (&[0x7f], 127), (&[0xe5, 0x8e, 0x26], 624_485), (&[0x83, 0x80, 0], 3)]
        {
            assert_eq!((number_len(bytes), number(bytes)), (bytes.len(), expected));
        }
    }

    #[test]
    fn a_module_with_additions_is_valid() {
        let wasm = wat::parse_str(
            r#"(module (type (func (param i32 i32 i32 i32) (result i32))) (import "a" "b" (func))
            (memory (export "memory") 1) (global (mut i32) (i32.const 0)) (global i32 (i32.const 0))
            (func (export "cabi_realloc") (type 0) unreachable))"#,
        );
        for state in [None, Some(vec![0])] {
            let additions = Additions { realloc: 1, types: 2, functions: 2, state: state.clone() };
            let more = with(wasm.as_ref().unwrap(), &additions).unwrap();
            wasmparser::Validator::new().validate_all(&more).unwrap();
            let engine = crate::engine::engine().unwrap();
            let module = wasmtime::Module::new(&engine, &more).unwrap();
            let added: Vec<_> = module.exports().map(|export| export.name().to_owned()).skip(2).collect();
            let expected = [ALLOCATE, COPYABLE_MEMORY, "wasmesh-host:global:0"];
            assert_eq!(added, expected[..if state.is_some() { 3 } else { 1 }]);
        }
    }
}

//! The guest's own core module: whether its functions are what the canonical ABI makes of the contract.

use std::collections::HashMap;

use wasmparser::{
    CompositeInnerType, ExternalKind, FuncType, FunctionBody, Import, Operator, Parser, Payload, TypeRef, ValType,
};

use super::rewrite::{self, Additions};
use crate::contract::{self, Name};

/// The flat types of a function.
type Signature = (&'static [ValType], &'static [ValType]);

const I32: ValType = ValType::I32;
const I64: ValType = ValType::I64;

/// What the canonical ABI makes of the functions that a policy exports: interface, function, types. A result that does
/// not fit into one number is returned as a pointer to it.
const EXPORTS: [(&str, &str, Signature); 4] = [
    (contract::POLICY, "init", (&[I32, I32, I32, I32], &[I32])),
    (contract::POLICY, "update", (&[I64, I64, I32, I32], &[I32])),
    (contract::POLICY, "pick", (&[I64, I64, I64, I64, I64, I64, I32, I32, I32, I32], &[I32])),
    (contract::FEEDBACK, "completed", (&[I64, I64, I32, I32, I32, I32, I64], &[])),
];

/// And of those that it imports. The last parameter of one with a large result is where to write it.
const IMPORTS: [(&str, &str, Signature); 11] = [
    ("stats", "in-flight", (&[I32], &[I32])),
    ("stats", "total-in-flight", (&[], &[I32])),
    ("stats", "latency-us", (&[I32], &[I32])),
    ("stats", "failure-rate", (&[I32], &[I32])),
    ("stats", "available", (&[I32], &[I32])),
    ("stats", "reported", (&[I32, I32], &[I32])),
    ("stats", "peers", (&[], &[I32])),
    ("request-info", "text", (&[I32, I32], &[])),
    ("request-info", "body", (&[I32], &[])),
    ("request-info", "deadline-ms", (&[], &[I32])),
    ("log", "write", (&[I32, I32, I32], &[])),
];

/// Checks that a core module can be called directly, and adds to it what makes that quicker and its state reachable.
///
/// # Errors
///
/// Why it cannot be called directly.
pub(crate) fn prepare(wasm: &[u8], has_feedback: bool) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("its module cannot be read: {error}");
    let parts = Parts::read(wasm).map_err(unreadable)?;
    parts.check_imports()?;
    parts.check_exports(has_feedback)?;
    rewrite::with(wasm, &parts.additions()?).map_err(unreadable)
}

/// What matters of a core module.
#[derive(Default)]
struct Parts<'a> {
    /// `None` for what is no function.
    types: Vec<Option<FuncType>>,
    /// By function, the index of its type.
    functions: Vec<u32>,
    imports: Vec<Import<'a>>,
    exports: HashMap<&'a str, (ExternalKind, u32)>,
    /// How many globals there are, and which of them can change and are of what type.
    globals: u32,
    mutable_globals: Vec<(u32, ValType)>,
    defined_memories: usize,
    changes_tables: bool,
    has_start: bool,
}

impl<'a> Parts<'a> {
    fn read(wasm: &'a [u8]) -> wasmparser::Result<Self> {
        let mut parts = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::TypeSection(section) => {
                    for group in section {
                        for ty in group?.into_types() {
                            parts.types.push(match ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(ty),
                                _ => None,
                            });
                        }
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        parts.import(import?);
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        parts.functions.push(ty?);
                    }
                }
                Payload::MemorySection(section) => parts.defined_memories = section.count() as usize,
                Payload::GlobalSection(section) => {
                    for global in section {
                        let ty = global?.ty;
                        if ty.mutable {
                            parts.mutable_globals.push((parts.globals, ty.content_type));
                        }
                        parts.globals += 1;
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        parts.exports.insert(export.name, (export.kind, export.index));
                    }
                }
                Payload::StartSection { .. } => parts.has_start = true,
                Payload::CodeSectionEntry(body) => parts.changes_tables |= changes_tables(&body)?,
                _ => {}
            }
        }
        Ok(parts)
    }

    fn import(&mut self, import: Import<'a>) {
        match import.ty {
            TypeRef::Func(ty) => self.functions.push(ty),
            TypeRef::Global(_) => self.globals += 1,
            _ => {}
        }
        self.imports.push(import);
    }

    fn check_imports(&self) -> Result<(), String> {
        for Import { module, name, ty } in &self.imports {
            let known = IMPORTS
                .iter()
                .find(|(interface, function, _)| Name::parse(module) == Name::Ours(interface) && name == function);
            let expected = known.map(|(_, _, signature)| signature);
            match (expected, ty) {
                (Some(expected), TypeRef::Func(ty)) if self.has_type(*ty, *expected) => {}
                (Some(_), _) => return Err(format!("its import {module}#{name} has an unexpected type")),
                (None, _) => return Err(format!("its module imports {module}#{name}")),
            }
        }
        Ok(())
    }

    fn check_exports(&self, has_feedback: bool) -> Result<(), String> {
        for (interface, function, signature) in EXPORTS {
            if interface == contract::FEEDBACK && !has_feedback {
                continue;
            }
            let ours = |name: &str| {
                name.split_once('#')
                    .is_some_and(|(module, rest)| Name::parse(module) == Name::Ours(interface) && rest == function)
            };
            self.check_function(&format!("{interface}#{function}"), ours, signature)?;
        }
        self.check_function("cabi_realloc", |name| name == "cabi_realloc", (&[I32; 4], &[I32]))?;
        match self.exports.get("memory") {
            Some((ExternalKind::Memory, 0)) if self.defined_memories == 1 => Ok(()),
            _ => Err("its module does not export the one memory that it has as \"memory\"".to_owned()),
        }
    }

    fn check_function(&self, what: &str, is_it: impl Fn(&str) -> bool, signature: Signature) -> Result<(), String> {
        let mut found = self.exports.iter().filter(|(name, _)| is_it(name)).map(|(_, export)| export);
        let (Some((ExternalKind::Func, index)), None) = (found.next(), found.next()) else {
            return Err(format!("its module does not export {what} once"));
        };
        let ty = self.functions.get(*index as usize).copied();
        if !ty.is_some_and(|ty| self.has_type(ty, signature)) {
            return Err(format!("its export {what} has an unexpected type"));
        }
        Ok(())
    }

    fn has_type(&self, ty: u32, (params, results): Signature) -> bool {
        let ty = self.types.get(ty as usize).and_then(Option::as_ref);
        ty.is_some_and(|ty| ty.params() == params && ty.results() == results)
    }

    fn additions(&self) -> Result<Additions, String> {
        if let Some(name) = self.exports.keys().find(|name| name.starts_with(rewrite::PREFIX)) {
            return Err(format!("its module exports {name}, a name that the host adds itself"));
        }
        let realloc = self.exports.get("cabi_realloc").map(|(_, index)| *index);
        Ok(Additions {
            realloc: realloc.ok_or("its module does not export cabi_realloc")?,
            types: self.types.len() as u32,
            functions: self.functions.len() as u32,
            state: self.is_copyable().then(|| self.mutable_globals.iter().map(|(index, _)| *index).collect()),
        })
    }

    /// Whether memory and globals are all of an instance's state, and can be read and written from outside.
    fn is_copyable(&self) -> bool {
        let is_number = |ty: ValType| matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64);
        // What a start function does can differ from instance to instance: it may ask the host things.
        !self.changes_tables && !self.has_start && self.mutable_globals.iter().all(|(_, ty)| is_number(*ty))
    }
}

/// Whether a function can change a table, which is state that cannot be copied.
fn changes_tables(body: &FunctionBody<'_>) -> wasmparser::Result<bool> {
    for operator in body.get_operators_reader()? {
        if matches!(
            operator?,
            Operator::TableSet { .. }
                | Operator::TableGrow { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. }
        ) {
            return Ok(true);
        }
    }
    Ok(false)
}

//! One core module, as far as linking needs to know it.

use std::collections::HashMap;

use wasmparser::{ConstExpr, DataKind, ExternalKind, Import, Operator, Parser, Payload, TypeRef};

use crate::BuildError;

/// What a module imports and exports, and how much of everything it has.
pub(crate) struct Part<'a> {
    pub(crate) bytes: &'a [u8],
    /// How many types it has.
    pub(crate) types: u32,
    pub(crate) imports: Vec<Import<'a>>,
    /// By kind, the places in `imports` of those that are of it.
    by_kind: [Vec<usize>; 4],
    /// By function, imported ones first, the index of its type.
    pub(crate) functions: Vec<u32>,
    pub(crate) exports: HashMap<&'a str, (Kind, u32)>,
    /// By kind: how many it imports and how many it has of its own.
    pub(crate) imported: Counts,
    pub(crate) defined: Counts,
    /// The globals of its own that cannot change.
    constants: HashMap<u32, ConstExpr<'a>>,
    pub(crate) start: Option<u32>,
    pub(crate) data: u32,
    /// Whether some of it is copied to memory when the module is made.
    pub(crate) fills_memory: bool,
    pub(crate) elements: u32,
    /// What says which contract the module was made for; see `wit_component::embed_component_metadata`.
    pub(crate) component_types: Vec<(&'a str, &'a [u8])>,
}

/// What can be imported and exported, but for tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Function,
    Table,
    Memory,
    Global,
}

/// A number for each [`Kind`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts([u32; 4]);

impl Counts {
    pub(crate) fn of(&self, kind: Kind) -> u32 {
        self.0[kind as usize]
    }

    pub(crate) fn add(&mut self, kind: Kind, count: u32) {
        self.0[kind as usize] += count;
    }
}

impl<'a> Part<'a> {
    /// Takes a module apart. It has been validated: it has as many of everything as it says.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, BuildError> {
        let mut part = Self {
            bytes,
            types: 0,
            imports: Vec::new(),
            by_kind: Default::default(),
            functions: Vec::new(),
            exports: HashMap::new(),
            imported: Counts::default(),
            defined: Counts::default(),
            constants: HashMap::new(),
            start: None,
            data: 0,
            fills_memory: false,
            elements: 0,
            component_types: Vec::new(),
        };
        for payload in Parser::new(0).parse_all(bytes) {
            part.section(payload?)?;
        }
        Ok(part)
    }

    fn section(&mut self, payload: Payload<'a>) -> Result<(), BuildError> {
        match payload {
            Payload::TypeSection(section) => {
                for group in section {
                    self.types += group?.types().len() as u32;
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.import(import?)?;
                }
            }
            Payload::FunctionSection(section) => {
                self.defined.add(Kind::Function, section.count());
                for ty in section {
                    self.functions.push(ty?);
                }
            }
            Payload::TableSection(section) => self.defined.add(Kind::Table, section.count()),
            Payload::MemorySection(section) => self.defined.add(Kind::Memory, section.count()),
            Payload::GlobalSection(section) => {
                for (global, index) in section.into_iter().zip(self.imported.of(Kind::Global)..) {
                    let global = global?;
                    self.defined.add(Kind::Global, 1);
                    if !global.ty.mutable {
                        self.constants.insert(index, global.init_expr);
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if let Some(kind) = Kind::of(export.kind) {
                        self.exports.insert(export.name, (kind, export.index));
                    }
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => self.elements = section.count(),
            Payload::DataSection(section) => {
                self.data = section.count();
                for data in section {
                    self.fills_memory |= matches!(data?.kind, DataKind::Active { .. });
                }
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                self.component_types.push((section.name(), section.data()));
            }
            Payload::TagSection(_) => return Err(BuildError::Unsupported("exceptions")),
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, import: Import<'a>) -> Result<(), BuildError> {
        let kind = match import.ty {
            TypeRef::Func(ty) => {
                self.functions.push(ty);
                Kind::Function
            }
            TypeRef::Table(_) => Kind::Table,
            TypeRef::Memory(_) => Kind::Memory,
            TypeRef::Global(_) => Kind::Global,
            _ => return Err(BuildError::Unsupported("exceptions or exact function types")),
        };
        self.imported.add(kind, 1);
        self.by_kind[kind as usize].push(self.imports.len());
        self.imports.push(import);
        Ok(())
    }

    /// The imports of a kind, in the order of their numbers.
    pub(crate) fn imports_of(&self, kind: Kind) -> impl Iterator<Item = &Import<'a>> {
        self.by_kind[kind as usize].iter().map(|at| &self.imports[*at])
    }

    /// The import of a kind that has this number.
    pub(crate) fn import_of(&self, kind: Kind, index: u32) -> Option<&Import<'a>> {
        self.by_kind[kind as usize].get(index as usize).map(|at| &self.imports[*at])
    }

    /// What a global of its own that cannot change is made from.
    pub(crate) fn constant(&self, global: u32) -> Option<&ConstExpr<'a>> {
        self.constants.get(&global)
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Function, Self::Table, Self::Memory, Self::Global];

    pub(crate) fn of(kind: ExternalKind) -> Option<Self> {
        match kind {
            ExternalKind::Func => Some(Self::Function),
            ExternalKind::Table => Some(Self::Table),
            ExternalKind::Memory => Some(Self::Memory),
            ExternalKind::Global => Some(Self::Global),
            ExternalKind::Tag | ExternalKind::FuncExact => None,
        }
    }
}

/// A number that is known before anything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constant {
    I32(i32),
    I64(i64),
}

/// Works out a constant expression; `None` for one that is no whole number. `globals` are the values of those that it may refer to.
pub(crate) fn evaluate(expression: &ConstExpr<'_>, globals: &[Option<Constant>]) -> Option<Constant> {
    use Constant::{I32, I64};

    let mut stack = Vec::new();
    let mut operators = expression.get_operators_reader();
    while !operators.is_end_then_eof() {
        let operator = operators.read().ok()?;
        let value = match operator {
            Operator::I32Const { value } => I32(value),
            Operator::I64Const { value } => I64(value),
            Operator::GlobalGet { global_index } => (*globals.get(global_index as usize)?)?,
            operator => match (operator, stack.pop()?, stack.pop()?) {
                (Operator::I32Add, I32(b), I32(a)) => I32(a.wrapping_add(b)),
                (Operator::I32Sub, I32(b), I32(a)) => I32(a.wrapping_sub(b)),
                (Operator::I32Mul, I32(b), I32(a)) => I32(a.wrapping_mul(b)),
                (Operator::I64Add, I64(b), I64(a)) => I64(a.wrapping_add(b)),
                (Operator::I64Sub, I64(b), I64(a)) => I64(a.wrapping_sub(b)),
                (Operator::I64Mul, I64(b), I64(a)) => I64(a.wrapping_mul(b)),
                _ => return None,
            },
        };
        stack.push(value);
    }
    match *stack {
        [value] => Some(value),
        _ => None,
    }
}

//! A linker for core modules: several become one.
//!
//! Some toolchains make a component of several modules that share a memory, and most want WASI from somebody. A policy
//! has no WASI, and a host calls it quickest if it is one module. So what belongs together is put into one module: its
//! imports are those that a host answers, everything else is wired up inside.

mod part;
mod renumber;

use std::collections::{BTreeSet, HashMap};

use wasm_encoder::{
    CodeSection, DataCountSection, DataSection, ElementSection, Elements, EntityType, ExportKind, ExportSection,
    Function, FunctionSection, GlobalSection, ImportSection, Instruction, MemorySection, Module, StartSection,
    TableSection, TypeSection, reencode::Reencode,
};
use wasmparser::{Import, Parser, Payload};

pub(crate) use self::part::{Kind, Part};
use self::{
    part::{Constant, evaluate},
    renumber::{GONE, Renumber},
};
use crate::BuildError;

/// Modules and how they are wired up.
pub(crate) struct Link<'a> {
    pub(crate) parts: Vec<Part<'a>>,
    /// By part: what answers an import, by the import's two names.
    pub(crate) wires: Vec<Wires<'a>>,
    /// What the result exports: a part, what the part calls it, and what it is called from now on.
    pub(crate) exports: Vec<(usize, &'a str, String)>,
}

/// What answers an import, by its two names.
pub(crate) type Wires<'a> = HashMap<(&'a str, &'a str), Wire<'a>>;

/// What answers an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    /// This export of this part.
    To(usize, &'a str),
    /// Nothing in the result: only what is left out needs it.
    Gone,
}

/// What becomes of an import that no part answers.
pub(crate) enum Outside {
    /// The host answers it.
    Host,
    /// Nobody will ever call it, or who does deserves a trap.
    Trap,
    /// It has nothing to do and nothing to answer.
    Nothing,
    /// Nothing that a policy may import.
    Refused,
}

/// Who is behind a number of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source<'a> {
    /// This one of this part's own.
    Own(usize, u32),
    /// The host, by the import's two names.
    Host(&'a str, &'a str),
    /// A function that is made up for this import of a part, and whether it traps.
    Made(usize, u32, bool),
    /// Nobody.
    Gone,
}

/// Where everything stands in the result.
struct Layout<'a> {
    /// By part, where its own begin.
    first: Vec<part::Counts>,
    /// The host's functions, and of each a part that imports it and the number by which it does.
    host: Vec<(&'a str, &'a str, usize, u32)>,
    made: Vec<(usize, u32, bool)>,
    /// The numbers of both.
    numbers: HashMap<Source<'a>, u32>,
}

impl<'a> Link<'a> {
    /// One module of all.
    ///
    /// # Errors
    /// An import that nobody answers, or more than one memory.
    pub(crate) fn link(&self, outside: &dyn Fn(&str, &str) -> Outside) -> Result<Vec<u8>, BuildError> {
        let layout = self.layout(outside)?;
        let constants = self.constants();
        let mut renumbers = self.renumber(&layout, &constants, outside)?;
        let mut sections = Sections::default();
        for (part, renumber) in self.parts.iter().zip(&mut renumbers) {
            sections.add(part, renumber)?;
        }
        for (module, name, of, function) in &layout.host {
            let ty = renumbers[*of].types + self.parts[*of].functions[*function as usize];
            sections.imports.import(module, name, EntityType::Function(ty));
        }
        for (of, function, traps) in &layout.made {
            sections.functions.function(renumbers[*of].types + self.parts[*of].functions[*function as usize]);
            let mut body = Function::new([]);
            if *traps {
                body.instruction(&Instruction::Unreachable);
            }
            body.instruction(&Instruction::End);
            sections.code.function(&body);
        }
        for (of, name, called) in &self.exports {
            let (kind, index) = self.parts[*of].exports.get(name).copied().ok_or(BuildError::Unwired)?;
            let at = renumbers[*of].at(kind, index).ok_or(BuildError::Unwired)?;
            sections.exports.export(called, kind.into(), at);
        }
        sections.declare(renumbers.iter().flat_map(|renumber| &renumber.referred).copied().collect());
        self.check_memories()?;
        let start = self.start(&renumbers)?;
        Ok(sections.finish(start))
    }

    /// Follows an import from part to part.
    fn source(
        &self,
        of: usize,
        kind: Kind,
        index: u32,
        outside: &dyn Fn(&str, &str) -> Outside,
    ) -> Result<Source<'a>, BuildError> {
        let (mut of, mut index) = (of, index);
        // No chain of imports is longer than there are parts.
        for _ in 0..=self.parts.len() {
            let part = &self.parts[of];
            let Some(own) = index.checked_sub(part.imported.of(kind)) else {
                let import = *part.import_of(kind, index).ok_or(BuildError::Unwired)?;
                let (next, name) = match self.wires[of].get(&(import.module, import.name)) {
                    Some(Wire::To(next, name)) => (*next, *name),
                    Some(Wire::Gone) => return Ok(Source::Gone),
                    None => return answer(&import, of, kind, index, outside),
                };
                let (found, at) = self.parts[next].exports.get(name).copied().ok_or(BuildError::Unwired)?;
                if found != kind {
                    return Err(BuildError::Unwired);
                }
                (of, index) = (next, at);
                continue;
            };
            return Ok(Source::Own(of, own));
        }
        Err(BuildError::Unwired)
    }

    fn layout(&self, outside: &dyn Fn(&str, &str) -> Outside) -> Result<Layout<'a>, BuildError> {
        let mut layout = Layout { first: Vec::new(), host: Vec::new(), made: Vec::new(), numbers: HashMap::new() };
        for (of, part) in self.parts.iter().enumerate() {
            for index in 0..part.imported.of(Kind::Function) {
                let source = self.source(of, Kind::Function, index, outside)?;
                if layout.numbers.contains_key(&source) {
                    continue;
                }
                match source {
                    // One import for all who want the same; that they mean the same is for validation to find out.
                    Source::Host(module, name) => {
                        layout.numbers.insert(source, layout.host.len() as u32);
                        layout.host.push((module, name, of, index));
                    }
                    Source::Made(of, index, traps) => {
                        layout.numbers.insert(source, layout.made.len() as u32);
                        layout.made.push((of, index, traps));
                    }
                    Source::Own(..) | Source::Gone => {}
                }
            }
        }
        let mut next = part::Counts::default();
        next.add(Kind::Function, layout.host.len() as u32);
        for part in &self.parts {
            layout.first.push(next);
            for kind in Kind::ALL {
                next.add(kind, part.defined.of(kind));
            }
        }
        // Those that are made up come after all others.
        let after = next.of(Kind::Function);
        for (source, number) in &mut layout.numbers {
            if matches!(source, Source::Made(..)) {
                *number += after;
            }
        }
        Ok(layout)
    }

    fn renumber<'c>(
        &self,
        layout: &Layout<'a>,
        constants: &'c [Vec<Option<Constant>>],
        outside: &dyn Fn(&str, &str) -> Outside,
    ) -> Result<Vec<Renumber<'c>>, BuildError> {
        let (mut types, mut data, mut elements) = (0, 0, 0);
        let mut renumbers = Vec::new();
        for ((of, part), constants) in self.parts.iter().enumerate().zip(constants) {
            let mut all = Vec::new();
            for kind in Kind::ALL {
                let count = part.imported.of(kind) + part.defined.of(kind);
                let at = |index| Ok(layout.number(kind, self.source(of, kind, index, outside)?));
                all.push((0..count).map(at).collect::<Result<Vec<_>, BuildError>>()?);
            }
            let [functions, tables, memories, globals] = all.try_into().map_err(|_| BuildError::Unwired)?;
            let referred = BTreeSet::new();
            renumbers.push(Renumber {
                types,
                functions,
                tables,
                memories,
                globals,
                data,
                elements,
                constants,
                referred,
            });
            types += part.types;
            data += part.data;
            elements += part.elements;
        }
        Ok(renumbers)
    }

    /// By part and number, the values of globals that cannot change. One may be made from those before it only, in its own part or
    /// in one that is made before, so that a single walk finds them all.
    fn constants(&self) -> Vec<Vec<Option<Constant>>> {
        let mut all: Vec<Vec<Option<Constant>>> = Vec::new();
        for (of, part) in self.parts.iter().enumerate() {
            let imported = part.imported.of(Kind::Global);
            let mut globals = Vec::new();
            for index in 0..imported + part.defined.of(Kind::Global) {
                globals.push(match self.source(of, Kind::Global, index, &|_, _| Outside::Refused) {
                    Ok(Source::Own(by, _)) if by == of => {
                        part.constant(index).and_then(|expression| evaluate(expression, &globals))
                    }
                    Ok(Source::Own(by, own)) => all.get(by).and_then(|globals| {
                        let index = own + self.parts[by].imported.of(Kind::Global);
                        globals.get(index as usize).copied().flatten()
                    }),
                    _ => None,
                });
            }
            all.push(globals);
        }
        all
    }

    fn check_memories(&self) -> Result<(), BuildError> {
        let memories: u32 = self.parts.iter().map(|part| part.defined.of(Kind::Memory)).sum();
        if memories == 1 { Ok(()) } else { Err(BuildError::Memories(memories)) }
    }

    fn start(&self, renumbers: &[Renumber<'_>]) -> Result<Option<u32>, BuildError> {
        let mut starts = self.parts.iter().zip(renumbers).filter_map(|(part, renumber)| {
            let start = part.start?;
            renumber.at(Kind::Function, start)
        });
        match (starts.next(), starts.next()) {
            (start, None) => Ok(start),
            _ => Err(BuildError::Unsupported("more than one start function")),
        }
    }
}

/// What becomes of an import that leads out of the modules.
fn answer<'a>(
    import: &Import<'a>,
    of: usize,
    kind: Kind,
    index: u32,
    outside: &dyn Fn(&str, &str) -> Outside,
) -> Result<Source<'a>, BuildError> {
    let foreign = || BuildError::ForeignImport { name: format!("{} from {}", import.name, import.module) };
    match outside(import.module, import.name) {
        _ if kind != Kind::Function => Err(foreign()),
        Outside::Host => Ok(Source::Host(import.module, import.name)),
        Outside::Trap => Ok(Source::Made(of, index, true)),
        Outside::Nothing => Ok(Source::Made(of, index, false)),
        Outside::Refused => Err(foreign()),
    }
}

impl<'a> Layout<'a> {
    fn number(&self, kind: Kind, source: Source<'a>) -> u32 {
        match source {
            Source::Own(of, own) => self.first[of].of(kind) + own,
            Source::Host(..) | Source::Made(..) | Source::Gone => self.numbers.get(&source).copied().unwrap_or(GONE),
        }
    }
}

/// The sections of the result, in which each part has its share.
#[derive(Default)]
struct Sections {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    tables: TableSection,
    memories: MemorySection,
    globals: GlobalSection,
    exports: ExportSection,
    elements: ElementSection,
    code: CodeSection,
    data: DataSection,
}

impl Sections {
    fn add(&mut self, part: &Part<'_>, renumber: &mut Renumber<'_>) -> Result<(), BuildError> {
        for payload in Parser::new(0).parse_all(part.bytes) {
            match payload? {
                Payload::TypeSection(section) => renumber.parse_type_section(&mut self.types, section)?,
                Payload::FunctionSection(section) => renumber.parse_function_section(&mut self.functions, section)?,
                Payload::TableSection(section) => renumber.parse_table_section(&mut self.tables, section)?,
                Payload::MemorySection(section) => renumber.parse_memory_section(&mut self.memories, section)?,
                Payload::GlobalSection(section) => renumber.parse_global_section(&mut self.globals, section)?,
                Payload::ElementSection(section) => renumber.parse_element_section(&mut self.elements, section)?,
                Payload::CodeSectionEntry(body) => renumber.parse_function_body(&mut self.code, body)?,
                Payload::DataSection(section) => renumber.parse_data_section(&mut self.data, section)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Says of functions that they are referred to as values. What exports and elements of the parts have said is lost where these
    /// are not in the result.
    fn declare(&mut self, functions: BTreeSet<u32>) {
        if !functions.is_empty() {
            self.elements.declared(Elements::Functions(functions.into_iter().collect()));
        }
    }

    /// In the order that the format demands. Empty sections are left out.
    fn finish(self, start: Option<u32>) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions);
        if !self.tables.is_empty() {
            module.section(&self.tables);
        }
        module.section(&self.memories);
        if !self.globals.is_empty() {
            module.section(&self.globals);
        }
        module.section(&self.exports);
        if let Some(function_index) = start {
            module.section(&StartSection { function_index });
        }
        if !self.elements.is_empty() {
            module.section(&self.elements);
        }
        if !self.data.is_empty() {
            module.section(&DataCountSection { count: self.data.len() });
        }
        module.section(&self.code);
        if !self.data.is_empty() {
            module.section(&self.data);
        }
        module.finish()
    }
}

impl From<Kind> for ExportKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Function => Self::Func,
            Kind::Table => Self::Table,
            Kind::Memory => Self::Memory,
            Kind::Global => Self::Global,
        }
    }
}

//! What a module is, told from its sections without running or compiling anything.
//!
//! A component as toolchains make it has one core module with the guest's code and perhaps some that only glue: a shim
//! for imports that need memory, which the fixups fill in, and one that calls `_initialize`. The guest's own module
//! then follows the canonical ABI to the letter, so that it can be called without the component around it. Everything
//! else runs as the component that it is.

use std::ops::Range;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, Encoding, ExternalKind, FunctionBody, Instance, Operator,
    Parser, Payload,
};

use crate::{
    contract::{self, Name},
    error::ModuleError,
    text,
};

/// A component that may be a policy: its imports and exports are ours, their types are still to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) has_feedback: bool,
    /// Where the guest's own module lies in the bytes, or why it cannot be called directly.
    pub(crate) main: Result<Range<usize>, String>,
}

/// Looks at a module.
///
/// # Errors
///
/// Everything that makes it no policy and that can be seen from outside.
pub(crate) fn inspect(wasm: &[u8]) -> Result<Shape, ModuleError> {
    if !wasm.starts_with(b"\0asm") {
        let begin = String::from_utf8_lossy(&wasm[..wasm.len().min(16)]);
        return Err(ModuleError::NotWasm { begin: text::line(&begin, 48) });
    }
    let outline = Outline::read(wasm)?;
    let exports = |interface| outline.exports.iter().any(|name| Name::parse(name) == Name::Ours(interface));
    let mut unknown = None;
    for name in outline.imports.iter().chain(&outline.exports) {
        if let Name::OtherVersion(found) = Name::parse(name) {
            return Err(ModuleError::ContractVersion { found: text::line(found, 64) });
        }
    }
    for name in &outline.imports {
        match Name::parse(name) {
            Name::Ours(interface) if contract::is_import(interface) => {}
            _ => unknown = unknown.or(Some(*name)),
        }
    }
    if let Some(name) = unknown {
        return Err(ModuleError::ForeignImport { name: text::line(name, 128) });
    }
    if !exports(contract::POLICY) {
        return Err(ModuleError::MissingExport { interface: contract::POLICY });
    }
    Ok(Shape { has_feedback: exports(contract::FEEDBACK), main: outline.main_module(wasm) })
}

/// The parts of a component that matter here.
#[derive(Default)]
struct Outline<'a> {
    imports: Vec<&'a str>,
    exports: Vec<&'a str>,
    modules: Vec<Range<usize>>,
    /// By core instance, which module it is one of, and what it is made of; `None` for bundles of exports.
    instances: Vec<Option<u32>>,
    /// By core function, the export of a core instance that it is an alias of.
    functions: Vec<Option<(u32, &'a str)>>,
    /// Likewise by memory.
    memories: Vec<(u32, &'a str)>,
    lifts: Vec<(u32, Box<[CanonicalOption]>)>,
    /// What the lowered imports use of the guest.
    lowerings: Vec<CanonicalOption>,
    /// Something that no toolchain makes for a policy.
    oddity: Option<&'static str>,
}

impl<'a> Outline<'a> {
    fn read(wasm: &'a [u8]) -> Result<Self, ModuleError> {
        let mut outline = Self::default();
        outline.sections(wasm).map_err(|error| ModuleError::Invalid(error.to_string()))?.map(|()| outline)
    }

    fn sections(&mut self, wasm: &'a [u8]) -> wasmparser::Result<Result<(), ModuleError>> {
        let mut parser = Parser::new(0);
        let mut rest = wasm;
        loop {
            let wasmparser::Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
                return Ok(Err(ModuleError::Invalid("it ends too early".to_owned())));
            };
            rest = &rest[consumed..];
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } => return Ok(Err(ModuleError::CoreModule)),
                Payload::ModuleSection { unchecked_range, .. } => {
                    rest = rest.get(unchecked_range.len()..).unwrap_or_default();
                    self.modules.push(unchecked_range);
                }
                Payload::ComponentSection { unchecked_range, .. } => {
                    let nested = wasm.get(unchecked_range.clone()).unwrap_or_default();
                    if has_code(nested, unchecked_range.start)? {
                        self.oddity = Some("a component is nested in it that has code of its own");
                    }
                    rest = rest.get(unchecked_range.len()..).unwrap_or_default();
                }
                Payload::End(_) => return Ok(Ok(())),
                payload => self.section(payload)?,
            }
        }
    }

    fn section(&mut self, payload: Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.imports.push(import?.name.name);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.name);
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instances.push(match instance? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(&alias?);
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.canonical(function?);
                }
            }
            Payload::ComponentStartSection { .. } => self.oddity = Some("it has a start function"),
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'a>) {
        match *alias {
            ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, instance_index, name } => {
                self.functions.push(Some((instance_index, name)));
            }
            ComponentAlias::CoreInstanceExport { kind: ExternalKind::Memory, instance_index, name } => {
                self.memories.push((instance_index, name));
            }
            // An alias of an outer module would shift the modules' numbers; at the top there is no outer.
            _ => {}
        }
    }

    fn canonical(&mut self, function: CanonicalFunction) {
        match function {
            CanonicalFunction::Lift { core_func_index, options, .. } => self.lifts.push((core_func_index, options)),
            CanonicalFunction::Lower { options, .. } => {
                self.lowerings.extend(options);
                self.functions.push(None);
            }
            // Resources and tasks: the contract has none.
            _ => {
                self.functions.push(None);
                self.oddity = Some("it uses resources or tasks");
            }
        }
    }

    /// Where the module lies that has all the code, if its exports are lifted as they are.
    fn main_module(&self, wasm: &[u8]) -> Result<Range<usize>, String> {
        if let Some(oddity) = self.oddity {
            return Err(oddity.to_owned());
        }
        let instance = self.lifted_instance()?;
        let main = self.instances.get(instance as usize).copied().flatten().ok_or("its exports come from no module")?;
        let range = self.modules.get(main as usize).ok_or("its exports come from no module")?;
        if self.instances.iter().filter(|module| **module == Some(main)).count() != 1 {
            return Err("its module is instantiated more than once".to_owned());
        }
        for (index, range) in self.modules.iter().enumerate() {
            let bytes = wasm.get(range.clone()).unwrap_or_default();
            if index != main as usize && !is_glue(bytes) {
                return Err(format!("it has {} modules with code of their own", self.modules.len()));
            }
        }
        Ok(range.clone())
    }

    /// The core instance that everything lifted is of, and everything that lifting and lowering uses.
    fn lifted_instance(&self) -> Result<u32, String> {
        let (first, _) = self.lifts.first().ok_or("it lifts no functions")?;
        let (instance, _) = self.function(*first)?;
        for (function, _) in &self.lifts {
            self.expect_of(instance, *function, is_export)?;
        }
        let lifted = self.lifts.iter().flat_map(|(_, options)| options);
        for option in lifted.chain(&self.lowerings) {
            match option {
                CanonicalOption::UTF8 => {}
                CanonicalOption::Memory(index) => match self.memories.get(*index as usize) {
                    Some((of, "memory")) if *of == instance => {}
                    _ => return Err("its memory is not its module's own".to_owned()),
                },
                CanonicalOption::Realloc(index) => self.expect_of(instance, *index, |name| name == "cabi_realloc")?,
                CanonicalOption::PostReturn(index) => {
                    let follows = |name: &str| name.strip_prefix("cabi_post_").is_some_and(is_export);
                    self.expect_of(instance, *index, follows)?;
                }
                CanonicalOption::UTF16 | CanonicalOption::CompactUTF16 => {
                    return Err("its strings are not UTF-8".to_owned());
                }
                _ => return Err("its functions use another ABI".to_owned()),
            }
        }
        Ok(instance)
    }

    /// Checks that a function is an export of this instance, and a certain one.
    fn expect_of(&self, instance: u32, function: u32, is_it: impl Fn(&str) -> bool) -> Result<(), String> {
        match self.function(function)? {
            (of, _) if of != instance => Err("its functions come from more than one module".to_owned()),
            (_, name) if !is_it(name) => Err(format!("a function is unexpectedly called {name:?}")),
            _ => Ok(()),
        }
    }

    fn function(&self, index: u32) -> Result<(u32, &'a str), String> {
        let at = self.functions.get(index as usize).copied().flatten();
        at.ok_or_else(|| "one of its exports comes from no module".to_owned())
    }
}

/// Whether a core function is called as the canonical ABI calls one of ours: interface, `#`, function.
fn is_export(name: &str) -> bool {
    let interface = name.split_once('#').map(|(interface, _)| Name::parse(interface));
    matches!(interface, Some(Name::Ours(contract::POLICY | contract::FEEDBACK)))
}

/// Whether a nested component has modules; those that toolchains make only rename types.
fn has_code(component: &[u8], offset: usize) -> wasmparser::Result<bool> {
    for payload in Parser::new(offset as u64).parse_all(component) {
        if matches!(payload?, Payload::ModuleSection { .. }) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a module is one of those that toolchains put around the guest's own: it has no state but a table, and its
/// functions do nothing but to hand their parameters on through that table. Those that fill the table in or call
/// `_initialize` have no functions at all.
///
/// Which function is handed on to which import is not followed: the guest's module names what it imports, and that is
/// what it gets. A component that was wired up otherwise on purpose behaves otherwise when it is called directly; the
/// limits and the checks are the same.
fn is_glue(module: &[u8]) -> bool {
    Parser::new(0).parse_all(module).all(|payload| match payload {
        Ok(Payload::MemorySection(_) | Payload::GlobalSection(_) | Payload::DataSection(_)) => false,
        Ok(Payload::CodeSectionEntry(body)) => hands_on(&body).unwrap_or(false),
        Ok(_) => true,
        Err(_) => false,
    })
}

fn hands_on(body: &FunctionBody<'_>) -> wasmparser::Result<bool> {
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::LocalGet { .. } | Operator::I32Const { .. } | Operator::CallIndirect { .. } | Operator::End => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glue(module: &str) -> bool {
        is_glue(&wat::parse_str(format!("(module {module})")).unwrap())
    }

    #[test]
    fn what_only_hands_on_is_glue() {
        let shim = r#"(type $f (func (param i32 i32))) (table (export "$imports") 1 1 funcref)
            (func (export "0") (type $f) (call_indirect (type $f) (local.get 0) (local.get 1) (i32.const 0)))"#;
        assert!(glue(shim));
        assert!(glue(
            r#"(import "" "0" (func)) (import "" "$imports" (table 1 1 funcref)) (elem (i32.const 0) func 0)"#
        ));
        assert!(glue(r#"(import "" "" (func $f)) (start $f)"#));
        assert!(!glue("(func i32.const 1 i32.const 2 i32.add drop)"));
        assert!(!glue("(memory 1)"));
        assert!(!glue("(global (mut i32) (i32.const 0))"));
        assert!(!is_glue(b"\0asm\x01\0\0\0garbage"));
    }

    #[test]
    fn what_no_toolchain_makes_is_told() {
        let why = |inside: &str| {
            let exports = r#"(instance $none) (export "wasmesh:policy/policy@0.1.0" (instance $none))"#;
            let wasm = wat::parse_str(format!("(component {inside} {exports})")).unwrap();
            inspect(&wasm).unwrap().main.unwrap_err()
        };
        assert_eq!(why("(core module)"), "it lifts no functions");
        assert_eq!(why("(component (core module))"), "a component is nested in it that has code of its own");
        assert_eq!(
            why(r#"(type $r (resource (rep i32))) (core func (canon resource.drop $r))"#),
            "it uses resources or tasks"
        );
    }

    #[test]
    fn any_cut_and_any_changed_byte_is_borne() {
        let wasm = wat::parse_str(
            r#"(component (core module (func (export "f")))
            (instance $none) (export "wasmesh:policy/policy@0.1.0" (instance $none)))"#,
        )
        .unwrap();
        assert!(inspect(&wasm).is_ok());
        for at in 0..wasm.len() {
            let _ = inspect(&wasm[..at]);
            for byte in 0..=u8::MAX {
                let mut changed = wasm.clone();
                changed[at] = byte;
                let _ = inspect(&changed);
            }
        }
    }
}

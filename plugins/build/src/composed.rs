//! Takes a component apart that consists of several modules, to link them into one.

use std::{collections::HashMap, ops::Range};

use wasmparser::{CanonicalFunction, ComponentAlias, ExternalKind, Instance, Parser, Payload};

use crate::{
    BuildError,
    link::{Kind, Link, Part, Wire, Wires},
    names,
};

/// One component, without those that are nested in it.
#[derive(Default)]
struct Composed<'a> {
    modules: Vec<Range<usize>>,
    instances: Vec<Made<'a>>,
    /// By kind and number, the export of a core instance that it is an alias of; `None` for functions of the component model.
    aliases: [Vec<Option<(u32, &'a str)>>; 4],
}

/// What a core instance is made of.
enum Made<'a> {
    /// A module, and by name the instances that answer its imports.
    Of(u32, HashMap<&'a str, u32>),
    /// A bundle of exports.
    Bundle(HashMap<&'a str, (Kind, u32)>),
}

/// The modules of which a policy is made, in whatever component of these bytes it is, wired up as they are there.
///
/// # Errors
/// No component of these bytes has a module that exports a policy.
pub(crate) fn take_apart(wasm: &[u8]) -> Result<Link<'_>, BuildError> {
    let mut components = Vec::new();
    read(wasm, 0, 0, &mut components)?;
    for composed in &components {
        if let Some(link) = composed.link(wasm)? {
            return Ok(link);
        }
    }
    Err(BuildError::NoPolicy)
}

/// How deep components may be nested.
const MAX_DEPTH: u32 = 16;

/// Reads the component that begins at `offset`, and those nested in it.
fn read<'a>(wasm: &'a [u8], offset: usize, depth: u32, into: &mut Vec<Composed<'a>>) -> Result<(), BuildError> {
    if depth > MAX_DEPTH {
        return Err(BuildError::Unsupported("components nested this deep"));
    }
    let mut composed = Composed::default();
    let mut parser = Parser::new(offset as u64);
    let mut at = offset;
    loop {
        let rest = wasm.get(at..).unwrap_or_default();
        let wasmparser::Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
            return Err(BuildError::NoPolicy);
        };
        at += consumed;
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                at = unchecked_range.end;
                composed.modules.push(unchecked_range);
            }
            Payload::ComponentSection { unchecked_range, .. } => {
                at = unchecked_range.end;
                read(wasm, unchecked_range.start, depth + 1, into)?;
            }
            Payload::End(_) => break,
            payload => composed.section(payload)?,
        }
    }
    into.push(composed);
    Ok(())
}

impl<'a> Composed<'a> {
    fn section(&mut self, payload: Payload<'a>) -> Result<(), BuildError> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instances.push(match instance? {
                        Instance::Instantiate { module_index, args } => {
                            Made::Of(module_index, args.iter().map(|arg| (arg.name, arg.index)).collect())
                        }
                        Instance::FromExports(exports) => Made::Bundle(
                            exports
                                .iter()
                                .filter_map(|export| Some((export.name, (Kind::of(export.kind)?, export.index))))
                                .collect(),
                        ),
                    });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    if let ComponentAlias::CoreInstanceExport { kind, instance_index, name } = alias? {
                        self.alias(kind, Some((instance_index, name)));
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    // Lifting makes functions of components; everything else makes core functions.
                    if !matches!(function?, CanonicalFunction::Lift { .. }) {
                        self.alias(ExternalKind::Func, None);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, kind: ExternalKind, of: Option<(u32, &'a str)>) {
        if let Some(kind) = Kind::of(kind) {
            self.aliases[kind as usize].push(of);
        }
    }

    /// The modules behind the instance that exports a policy, in the order in which they are made.
    fn link(&self, wasm: &'a [u8]) -> Result<Option<Link<'a>>, BuildError> {
        let mut parts: HashMap<u32, Part<'a>> = HashMap::new();
        for (instance, made) in (0..).zip(&self.instances) {
            if let Made::Of(module, _) = made {
                let range = self.modules.get(*module as usize).ok_or(BuildError::Unwired)?;
                parts.insert(instance, Part::read(wasm.get(range.clone()).unwrap_or_default())?);
            }
        }
        let Some(main) = (0..).zip(&self.instances).map(|(at, _)| at).find(|at| {
            let part = parts.get(at);
            part.is_some_and(|part| part.exports.keys().any(|name| names::is_pick(name)))
        }) else {
            return Ok(None);
        };
        let wanted = self.reachable(main, &parts);
        let places: HashMap<u32, usize> = wanted.iter().copied().zip(0..).collect();
        let mut link = Link { parts: Vec::new(), wires: Vec::new(), exports: Vec::new() };
        for instance in &wanted {
            let Some(part) = parts.remove(instance) else { return Err(BuildError::Unwired) };
            link.wires.push(self.wires(*instance, &part, &places));
            link.parts.push(part);
        }
        Ok(Some(link))
    }

    /// The instance, those that it needs, and those that fill in the tables of these, in the order in which they are made.
    fn reachable(&self, main: u32, parts: &HashMap<u32, Part<'a>>) -> Vec<u32> {
        let mut wanted = vec![main];
        let mut next = 0;
        while let Some(instance) = wanted.get(next).copied() {
            next += 1;
            let Some(part) = parts.get(&instance) else { continue };
            for import in &part.imports {
                if let Some((of, _)) = self.answer(instance, import.module, import.name)
                    && parts.contains_key(&of)
                    && !is_shim(&parts[&of])
                    && !wanted.contains(&of)
                {
                    wanted.push(of);
                }
            }
        }
        let fills = |instance: u32, part: &Part<'a>| {
            part.elements > 0
                && part.imports_of(Kind::Table).any(|import| {
                    self.answer(instance, import.module, import.name).is_some_and(|(of, _)| wanted.contains(&of))
                })
        };
        let filling: Vec<_> =
            parts.iter().filter(|(at, part)| !wanted.contains(at) && fills(**at, part)).map(|(at, _)| *at).collect();
        wanted.extend(filling);
        wanted.sort_unstable();
        wanted
    }

    fn wires(&self, instance: u32, part: &Part<'a>, places: &HashMap<u32, usize>) -> Wires<'a> {
        let mut wires = Wires::new();
        for import in &part.imports {
            let wire = match self.answer(instance, import.module, import.name) {
                Some((of, name)) if places.contains_key(&of) => Wire::To(places[&of], name),
                // A module that only fills in tables imports what it fills into those of modules that are left out.
                _ if part.exports.is_empty() => Wire::Gone,
                // It leads out of the modules, perhaps through one that only glues: the import's names say where to.
                _ => continue,
            };
            wires.insert((import.module, import.name), wire);
        }
        wires
    }

    /// The module's instance that answers an import, and what the instance calls it.
    fn answer(&self, instance: u32, module: &str, name: &'a str) -> Option<(u32, &'a str)> {
        let Made::Of(_, arguments) = self.instances.get(instance as usize)? else { return None };
        let argument = *arguments.get(module)?;
        match self.instances.get(argument as usize)? {
            Made::Of(..) => Some((argument, name)),
            Made::Bundle(exports) => {
                let (kind, index) = exports.get(name)?;
                *self.aliases[*kind as usize].get(*index as usize)?
            }
        }
    }
}

/// Whether a module stands in for imports that can be made only when there is a memory: `wit-component` puts it in between.
fn is_shim(part: &Part<'_>) -> bool {
    part.exports.contains_key("$imports") && part.imports.is_empty()
}

//! Takes a component apart that consists of several modules, to link them into one.

use std::{collections::HashMap, ops::Range};

use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ComponentTypeRef, ExternalKind,
    Instance, Parser, Payload,
};

use crate::{
    BuildError,
    link::{Kind, Link, Part, Wire, Wires},
    names,
};

/// What would shift the numbers of modules, and no toolchain makes.
const ELSEWHERE: BuildError = BuildError::Unsupported("a module that is in another component");

/// One component, without those that are nested in it.
#[derive(Default)]
struct Composed<'a> {
    modules: Vec<Range<usize>>,
    instances: Vec<Made<'a>>,
    /// By kind and number, the export of a core instance that it is an alias of; `None` for functions of the component model.
    aliases: [Vec<Option<(u32, &'a str)>>; 4],
}

/// By core instance, the module that it is made of.
type Parts<'p, 'a> = HashMap<u32, &'p Part<'a>>;

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
    for composed in read(wasm)? {
        if let Some(link) = composed.link(wasm)? {
            return Ok(link);
        }
    }
    Err(BuildError::NoPolicy)
}

/// All components in these bytes, those that are nested in another before it.
fn read(wasm: &[u8]) -> Result<Vec<Composed<'_>>, BuildError> {
    let mut read = Vec::new();
    // Where we are: in a component, and in what of it; `None` is a module, whose contents are nobody's business here.
    let mut within: Vec<Option<Composed<'_>>> = vec![Some(Composed::default())];
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        let Some(innermost) = within.last_mut() else { break };
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                if let Some(composed) = innermost {
                    composed.modules.push(unchecked_range);
                }
                within.push(None);
            }
            Payload::ComponentSection { .. } => within.push(Some(Composed::default())),
            Payload::End(_) => read.extend(within.pop().flatten()),
            payload => {
                if let Some(composed) = innermost {
                    composed.section(payload)?;
                }
            }
        }
    }
    Ok(read)
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
                    match alias? {
                        ComponentAlias::CoreInstanceExport { kind, instance_index, name } => {
                            self.alias(kind, Some((instance_index, name)));
                        }
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Module, .. }
                        | ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, .. } => {
                            return Err(ELSEWHERE);
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    if matches!(import?.ty, ComponentTypeRef::Module(_)) {
                        return Err(ELSEWHERE);
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
        let modules = self.modules.iter().map(|range| Part::read(wasm.get(range.clone()).unwrap_or_default()));
        let modules = modules.collect::<Result<Vec<_>, _>>()?;
        let mut parts: Parts<'_, 'a> = HashMap::new();
        for (instance, made) in (0..).zip(&self.instances) {
            if let Made::Of(module, _) = made {
                parts.insert(instance, modules.get(*module as usize).ok_or(BuildError::Unwired)?);
            }
        }
        let Some(main) = (0..).zip(&self.instances).map(|(at, _)| at).find(|at| {
            let part = parts.get(at);
            part.is_some_and(|part| part.exports.keys().any(|name| names::is_pick(name)))
        }) else {
            return Ok(None);
        };
        let wanted = self.reachable(main, &parts)?;
        let places: HashMap<u32, usize> = wanted.iter().copied().zip(0..).collect();
        let wires: Vec<_> = wanted.iter().map(|instance| self.wires(*instance, parts[instance], &places)).collect();
        let mut modules: Vec<_> = modules.into_iter().map(Some).collect();
        let mut link = Link { parts: Vec::new(), wires, exports: Vec::new() };
        for instance in &wanted {
            let Some(Made::Of(module, _)) = self.instances.get(*instance as usize) else {
                return Err(BuildError::Unwired);
            };
            // A thousand of a large one would be a small file with a huge result.
            let part = modules.get_mut(*module as usize).and_then(Option::take);
            link.parts.push(part.ok_or(BuildError::Unsupported("the same module more than once"))?);
        }
        Ok(Some(link))
    }

    /// The instance, those that it needs, and those that fill in the tables and memories of these, in the order in which they are made.
    fn reachable(&self, main: u32, parts: &Parts<'_, 'a>) -> Result<Vec<u32>, BuildError> {
        let mut wanted = vec![main];
        let mut next = 0;
        while let Some(instance) = wanted.get(next).copied() {
            next += 1;
            let Some(part) = parts.get(&instance) else { continue };
            for import in &part.imports {
                if let Some((of, _)) = self.answer(instance, import.module, import.name)
                    && parts.contains_key(&of)
                    && !is_shim(parts[&of])
                    && !wanted.contains(&of)
                {
                    wanted.push(of);
                }
            }
        }
        let mut filling = Vec::new();
        for (instance, part) in parts.iter().filter(|(instance, _)| !wanted.contains(instance)) {
            let has_of = |kind| {
                part.imports_of(kind).any(|import| {
                    self.answer(*instance, import.module, import.name).is_some_and(|(of, _)| wanted.contains(&of))
                })
            };
            if (part.elements > 0 && has_of(Kind::Table)) || (part.fills_memory && has_of(Kind::Memory)) {
                filling.push(*instance);
            } else if part.start.is_some_and(|start| !self.is_initialize(*instance, part, start))
                && Kind::ALL.into_iter().any(has_of)
            {
                return Err(BuildError::Unsupported("a module that is there only for what it does at the start"));
            }
        }
        wanted.extend(filling);
        wanted.sort_unstable();
        Ok(wanted)
    }

    /// Whether a module's start function is the `_initialize` of another. That is exported, and called all the same.
    fn is_initialize(&self, instance: u32, part: &Part<'a>, start: u32) -> bool {
        let import = part.import_of(Kind::Function, start);
        let answer = import.and_then(|import| self.answer(instance, import.module, import.name));
        answer.is_some_and(|(_, name)| name == "_initialize")
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

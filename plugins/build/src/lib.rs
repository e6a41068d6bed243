//! From what a compiler makes to a component that a host takes as a policy.
//!
//! [`component`] is pure: bytes in, bytes out. What comes in may be a core module of any language, with or without a description of its
//! types, or a component that imports WASI; what comes out exports the contract and imports nothing else.
//! [`Project`] runs compilers, and is what [`component`] is told their bytes by.

mod composed;
mod link;
mod names;
mod project;
mod world;

use thiserror::Error;
use wasm_encoder::reencode;
use wasmparser::{Parser, Validator, WasmFeatures};

use self::link::{Kind, Link, Outside, Part, Wire, Wires};
pub use self::project::{Language, Project};

/// What everything comes down to that a policy asks of WASI.
const WASI: &str = include_str!("wasi.wat");

/// What stands between the contract and a policy in JavaScript.
const JAVASCRIPT: &str = include_str!("javascript.wat");

/// Why something cannot be made a policy, and what to do about it.
#[derive(Debug, Error)]
pub enum BuildError {
    /// No WebAssembly, or broken.
    #[error("it cannot be read as WebAssembly: {0}")]
    Unreadable(#[from] wasmparser::Error),
    /// A function of the contract is missing.
    #[error(
        "it does not export {missing}. A policy exports init, update and pick, under these names or as {}",
        names::contract_name("policy", "pick")
    )]
    MissingExport {
        /// Which one.
        missing: String,
    },
    /// A component without a policy in it.
    #[error(
        "no module in it exports wasmesh:policy/policy@{}: was it built against plugins/wit/policy.wit?",
        names::VERSION
    )]
    NoPolicy,
    /// Something that no host has.
    #[error(
        "it imports {name}, and a policy has nothing but the contract: remove what needs it, or tell the compiler to \
         leave it out"
    )]
    ForeignImport {
        /// The import.
        name: String,
    },
    /// Not the one memory that a policy has.
    #[error("it has {0} memories, and a policy has one")]
    Memories(u32),
    /// Modules that are not what they say.
    #[error("its modules do not fit together: a function, table, memory or global of one of them is not there")]
    Unwired,
    /// Something that no toolchain needs for a policy.
    #[error("it uses {0}, which a policy cannot")]
    Unsupported(&'static str),
    /// The functions do not have the contract's types.
    #[error("it does not fit the contract: {0}")]
    Contract(String),
}

impl From<reencode::Error<BuildError>> for BuildError {
    fn from(error: reencode::Error<Self>) -> Self {
        match error {
            reencode::Error::UserError(error) => error,
            reencode::Error::ParseError(error) => Self::Unreadable(error),
            error => Self::Contract(error.to_string()),
        }
    }
}

/// Makes a component of a core module or of another component.
///
/// # Errors
/// What is missing in it, or what is in it that a policy may not have.
pub fn component(wasm: &[u8]) -> Result<Vec<u8>, BuildError> {
    // Everything after this believes what is written: how many there are of something, and that what is referred to is there. Whether
    // a policy may use this or that is for what is made of it: much that components have is gone by then.
    Validator::new_with_features(WasmFeatures::all()).validate_all(wasm)?;
    let is_component = Parser::is_component(wasm);
    let link = if is_component { composed::take_apart(wasm)? } else { alone(wasm)? };
    let types: Vec<_> = match &*link.parts {
        // Those of a component describe what it was, not what it is to become.
        [only] if !is_component => only.component_types.iter().map(|(name, data)| (*name, *data)).collect(),
        _ => Vec::new(),
    };
    let adapters = [WASI, JAVASCRIPT].map(wat::parse_str);
    let [wasi, javascript] = adapters.map(|adapter| adapter.map_err(|error| BuildError::Contract(error.to_string())));
    let (wasi, javascript) = (wasi?, javascript?);
    let mut link = link;
    let main = main_part(&link)?;
    add_exports(&mut link, main, &javascript)?;
    add_wasi(&mut link, &wasi)?;
    let has_feedback = link.exports.iter().any(|(.., name)| name == &names::contract_name("feedback", "completed"));
    let module = link.link(&outside)?;
    world::component(module, &types, has_feedback)
}

/// A core module that is by itself.
fn alone(wasm: &[u8]) -> Result<Link<'_>, BuildError> {
    Ok(Link { parts: vec![Part::read(wasm)?], wires: vec![Wires::new()], exports: Vec::new() })
}

/// What becomes of an import that nothing in the module answers.
fn outside(module: &str, name: &str) -> Outside {
    if names::is_contract(module) {
        Outside::Host
    } else if module == "javascript" {
        // Our own adapter's, of a function that this policy does not have.
        Outside::Trap
    } else if module.starts_with("wasi") || module.starts_with("local:init/") {
        if name.starts_with("[resource-drop]") { Outside::Nothing } else { Outside::Trap }
    } else {
        Outside::Refused
    }
}

/// The part whose exports are the policy.
fn main_part(link: &Link<'_>) -> Result<usize, BuildError> {
    let is_main = |part: &Part<'_>| {
        let plain = names::EXPORTS.iter().any(|(.., plain)| part.exports.contains_key(plain));
        plain || part.exports.keys().any(|name| names::is_pick(name))
    };
    // A name of the contract's is surer than a plain one, which libraries may have too.
    let sure = link.parts.iter().position(|part| part.exports.keys().any(|name| names::is_pick(name)));
    sure.or_else(|| link.parts.iter().position(is_main))
        .ok_or_else(|| BuildError::MissingExport { missing: "init, update and pick".to_owned() })
}

/// Gives the functions of the policy the contract's names, and exports what a host needs beside them.
fn add_exports<'a>(link: &mut Link<'a>, main: usize, javascript: &'a [u8]) -> Result<(), BuildError> {
    let part = &link.parts[main];
    let mut exports = Vec::new();
    let mut handed_on = Wires::new();
    let adapter = link.parts.len();
    for (interface, function, plain) in names::EXPORTS {
        let Some(found) = names::find(&part.exports.keys().copied(), interface, function, plain) else {
            if interface == "policy" {
                return Err(BuildError::MissingExport { missing: names::contract_name(interface, function) });
            }
            continue;
        };
        let called =
            if names::is_contract(found) { found.to_owned() } else { names::contract_name(interface, function) };
        let after = format!("cabi_post_{found}");
        if let Some((name, _)) = part.exports.get_key_value(after.as_str()) {
            exports.push((main, *name, format!("cabi_post_{called}")));
        }
        if found.starts_with(names::JAVASCRIPT) && matches!(function, "pick" | "completed") {
            handed_on.insert(("javascript", function), Wire::To(main, found));
            exports.push((adapter, function, called));
        } else {
            exports.push((main, found, called));
        }
    }
    let realloc = part.exports.get_key_value("cabi_realloc").map(|(name, _)| *name);
    exports.push((main, realloc.ok_or_else(|| missing("cabi_realloc"))?, "cabi_realloc".to_owned()));
    let (memory, _) = memory_of(link).ok_or_else(|| missing("memory"))?;
    exports.push((memory, "memory", "memory".to_owned()));
    let initializes = link.parts.iter().position(|part| part.exports.contains_key("_initialize"));
    exports.extend(initializes.map(|part| (part, "_initialize", "_initialize".to_owned())));
    link.exports = exports;
    if !handed_on.is_empty() {
        link.parts.push(Part::read(javascript)?);
        link.wires.push(handed_on);
    }
    Ok(())
}

/// Answers what the parts ask of WASI, if they do.
fn add_wasi<'a>(link: &mut Link<'a>, wasi: &'a [u8]) -> Result<(), BuildError> {
    let adapter = Part::read(wasi)?;
    let at = link.parts.len();
    let mut is_used = false;
    for (part, wires) in link.parts.iter().zip(&mut link.wires) {
        for import in &part.imports {
            let name = format!("{}#{}", names::unversioned(import.module), import.name);
            if let Some((name, _)) = adapter.exports.get_key_value(name.as_str())
                && !wires.contains_key(&(import.module, import.name))
            {
                wires.insert((import.module, import.name), Wire::To(at, name));
                is_used = true;
            }
        }
    }
    if is_used {
        let (memory, name) = memory_of(link).ok_or_else(|| missing("memory"))?;
        link.wires.push(Wires::from([(("policy", "memory"), Wire::To(memory, name))]));
        link.parts.push(adapter);
    }
    Ok(())
}

/// Who exports the memory.
fn memory_of(link: &Link<'_>) -> Option<(usize, &'static str)> {
    let is_memory = |part: &Part<'_>| part.exports.get("memory").is_some_and(|(kind, _)| *kind == Kind::Memory);
    Some((link.parts.iter().position(is_memory)?, "memory"))
}

fn missing(name: &str) -> BuildError {
    BuildError::MissingExport { missing: name.to_owned() }
}

//! From WebAssembly to machine code.

mod artefact;
mod child;
mod container;
mod hollow;
mod limits;
mod neighbour;
mod warden;

pub(crate) use artefact::{Artefact, Machine};
pub use child::compile_child_main;
pub(crate) use child::compile_in_child;
pub(crate) use hollow::hollow;
pub use limits::CompileLimits;

use std::borrow::Cow;

use wasmtime::{Engine, component::Component};

use crate::{
    component::ComponentModule,
    direct::{
        core_module,
        shape::{self, Shape},
    },
    error::ModuleError,
};

/// How modules are to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Calls {
    /// Directly where that is possible.
    #[default]
    DirectIfPossible,
    /// As components, all of them: to compare the two.
    AsComponents,
}

/// Compiles a module for an engine, after checking that it fits the contract. One that is given away is let go as soon as it can be:
/// the container may have little memory.
///
/// # Errors
///
/// Why it does not.
pub(crate) fn compile(engine: &Engine, wasm: Cow<'_, [u8]>, calls: Calls) -> Result<Artefact, ModuleError> {
    let shape = shape::inspect(&wasm)?;
    let invalid = |error: wasmtime::Error| ModuleError::Invalid(format!("{error:#}"));
    // Whichever way it is called: the types of a component are checked against the contract by those who know how.
    let types = Component::from_binary(engine, &hollow(&wasm)).map_err(invalid)?;
    ComponentModule::link(engine, &types, shape.has_feedback)
        .map_err(|error| ModuleError::Contract(format!("{error:#}")))?;
    drop(types);
    let (why_component, machine) = match core_module(&wasm, &shape, calls) {
        Ok(module) => {
            drop(wasm);
            (None, Machine::Module(engine.precompile_module(&module).map_err(invalid)?))
        }
        Err(why) => (Some(why), Machine::Component(engine.precompile_component(&wasm).map_err(invalid)?)),
    };
    Ok(Artefact { machine, why_component, has_feedback: shape.has_feedback })
}

/// The core module as it can be called directly, or why it cannot.
fn core_module(wasm: &[u8], shape: &Shape, calls: Calls) -> Result<Vec<u8>, String> {
    if calls == Calls::AsComponents {
        return Err("the host was told to".to_owned());
    }
    let main = wasm.get(shape.main.clone()?).ok_or("its module lies outside of it")?;
    core_module::prepare(main, shape.has_feedback)
}

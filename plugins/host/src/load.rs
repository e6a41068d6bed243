//! From machine code to something that can be called: the only place that trusts bytes.

use wasmtime::{Engine, Module, component::Component};

use crate::{
    compile::{Artefact, Machine},
    component::ComponentModule,
    direct::DirectModule,
    module::Code,
};

/// Makes machine code callable.
///
/// The artefact must come from [`crate::compile`] of this process, from a child of this process, or from a cache that
/// only this user can write: machine code does what it wants.
///
/// # Errors
///
/// It is not for this engine, or cannot be linked.
#[allow(unsafe_code)]
pub(crate) fn load(engine: &Engine, artefact: &Artefact) -> wasmtime::Result<Code> {
    match &artefact.machine {
        Machine::Module(code) => {
            // SAFETY: wasmtime checks version and settings; that the code is its own is what the caller vouches for.
            let module = unsafe { Module::deserialize(engine, code) }?;
            Ok(Code::Direct(DirectModule::link(engine, &module)?))
        }
        Machine::Component(code) => {
            // SAFETY: as above.
            let component = unsafe { Component::deserialize(engine, code) }?;
            Ok(Code::Component(ComponentModule::link(engine, &component, artefact.has_feedback)?))
        }
    }
}
